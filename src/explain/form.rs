//! What is wrong with the form of a token.

use crate::jose::{Claims, Header, decode, parse_object};
use serde_json::{Map, Value};

/// The part of a token that keeps it from being parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// All of it: there are not three parts.
    Whole,
    Header,
    Payload,
    Signature,
}

/// The first fault of a malformed token, in the order in which it is parsed.
pub(super) fn fault(token: &[u8]) -> Option<(Part, String)> {
    if str::from_utf8(token).is_err() {
        return Some((Part::Whole, "bytes that are no text".to_owned()));
    }
    let parts: Vec<_> = token.split(|byte| *byte == b'.').collect();
    let &[header, payload, signature] = parts.as_slice() else {
        let hint = match parts.len() {
            1 => "; an opaque token, which only its issuer can check",
            5 => "; an encrypted token (JWE)",
            _ => "",
        };
        return Some((Part::Whole, format!("{} parts{hint}", parts.len())));
    };
    let object = |part: &[u8]| members(part).map(drop);
    let of_header = || {
        object(header).err().or_else(|| {
            Header::parse(&bytes(header).ok()?)
                .is_err()
                .then(|| "alg, kid or typ is no text, or alg is absent".to_owned())
        })
    };
    let of_payload = || {
        object(payload).err().or_else(|| {
            Claims::parse(&bytes(payload).ok()?).is_err().then(|| {
                "exp, nbf or iat is no number, iss no text, or aud neither a text nor a list of \
                 texts"
                    .to_owned()
            })
        })
    };
    of_header()
        .map(|problem| (Part::Header, problem))
        .or_else(|| Some((Part::Payload, of_payload()?)))
        .or_else(|| Some((Part::Signature, bytes(signature).err()?)))
}

/// The members of the JOSE header, as far as it can be read.
pub(super) fn header(token: &[u8]) -> Map<String, Value> {
    let part = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    members(part).unwrap_or_default()
}

fn members(part: &[u8]) -> Result<Map<String, Value>, String> {
    parse_object(&bytes(part)?).map_err(|error| format!("no JSON object: {error}"))
}

fn bytes(part: &[u8]) -> Result<Vec<u8>, String> {
    if part.is_empty() {
        return Err("empty".to_owned());
    }
    str::from_utf8(part)
        .ok()
        .and_then(|text| decode(text).ok())
        .ok_or_else(|| "no base64url without padding (RFC 7515 §2)".to_owned())
}
