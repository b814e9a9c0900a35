//! Header maps in the host's serialised form.

use super::abi;
use crate::request::RequestHead;
use log::error;
use proxy_wasm::types::MapType;

/// The number of headers, the two lengths of each, and then names and values, each followed by a
/// zero; numbers are 32 bits, little-endian.
pub(super) struct Headers(Vec<u8>);

impl Headers {
    /// Reads a map; logs an error and returns `None` if the host does not hand it over.
    pub(super) fn read(map: MapType) -> Option<Self> {
        abi::header_map(map)
            .inspect_err(|status| {
                error!("mesh-jwt: the host does not hand over {map:?}: status {status}");
            })
            .ok()
            .map(Self)
    }

    /// The headers; `None` if the format is wrong.
    pub(super) fn head(&self) -> Option<RequestHead<'_>> {
        // Envoy hands over an empty map as no bytes.
        let (count, rest) = self.0.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (mut lengths, mut texts) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut next = || {
            let (length, others) = lengths.split_first_chunk()?;
            lengths = others;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, others) = texts.split_at_checked(length)?;
            texts = others.split_first()?.1;
            Some(text)
        };
        // The lengths of all of them were there, so no count of the host's makes this too large.
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            headers.push((str::from_utf8(next()?).ok()?, next()?));
        }
        Some(RequestHead::new(headers))
    }
}

/// Serialises headers for the host.
pub(super) fn serialize<'a>(
    headers: impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone,
) -> Vec<u8> {
    let texts = || headers.clone().flat_map(|(name, value)| [name, value]);
    // A module's memory ends at 4 GiB, so every length fits.
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = number(headers.len()).to_vec();
    texts().for_each(|text| bytes.extend_from_slice(&number(text.len())));
    for text in texts() {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
