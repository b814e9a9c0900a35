//! The keys of a JWK Set one by one, for people: what was published, and what the filter makes of it.

use super::json;
use super::jwk::{self, JwkSetError, Unfit, VerifyingKey};
use super::public_key::modulus_bits;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// A key as it was published. All texts are the issuer's, of any length and with any characters.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct DescribedKey {
    /// The `kid`, if it is a string.
    pub kid: Option<String>,
    /// The `kty`, if it is a string.
    pub kty: Option<String>,
    /// The `alg`, if it is a string.
    pub alg: Option<String>,
    /// The `use`, if it is a string.
    #[serde(rename = "use")]
    pub usage: Option<String>,
    /// The length of an RSA key's modulus, in bits.
    pub bits: Option<u32>,
    /// The SHA-256 thumbprint (RFC 7638), base64url, of a public key whose type has one.
    pub thumbprint: Option<String>,
    /// Why the filter skips the key; `None`: it uses it.
    pub refusal: Option<String>,
}

impl DescribedKey {
    /// Whether the filter verifies tokens with it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.refusal.is_none()
    }

    fn of(jwk: &Value) -> Self {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let owned = |name| text(name).map(str::to_owned);
        let key = VerifyingKey::parse(jwk);
        Self {
            kid: owned("kid"),
            kty: owned("kty"),
            alg: owned("alg"),
            usage: owned("use"),
            bits: text("n").filter(|_| text("kty") == Some("RSA")).and_then(modulus_bits),
            thumbprint: match &key {
                Ok(key) => Some(key.thumbprint().to_owned()),
                Err(_) => thumbprint(jwk),
            },
            refusal: key.err().map(str::to_owned),
        }
    }
}

/// Reads a JWK Set document as the filter does, and describes each of its keys, also if it would use
/// none of them.
///
/// # Errors
///
/// Why the document is not a JWK Set, or larger than the filter takes.
pub fn describe(document: &[u8]) -> Result<Vec<DescribedKey>, JwkSetError> {
    let keys = jwk::unread_keys(document)?;
    jwk::check_number(keys.len())?;
    let describe = |key: &serde_json::value::RawValue| match json::parse(key.get().as_bytes()) {
        Ok(jwk) => DescribedKey::of(&jwk),
        Err(error) => DescribedKey {
            kid: jwk::kid_of_unreadable(key),
            refusal: Some(Unfit::from(error).to_string()),
            ..DescribedKey::default()
        },
    };
    Ok(keys.into_iter().map(describe).collect())
}

/// The thumbprint of a key that is not used, over its members as they stand (RFC 7638 §3.2, RFC 8037
/// §2). A symmetric key gets none: a hash of a secret is not to be shown (RFC 7638 §7).
fn thumbprint(jwk: &Value) -> Option<String> {
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let member = |name: &&'static str| Some((*name, jwk.get(*name)?.as_str()?));
    let members: BTreeMap<_, _> = names.iter().map(member).collect::<Option<_>>()?;
    let members = serde_json::to_string(&members).ok()?;
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(members)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::KeySet;
    use crate::jose::known_answer::N;

    fn rsa(more: &str) -> String {
        format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB"{more}}}"#)
    }

    fn set(keys: &[String]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn the_filter_uses_and_skips_what_the_description_says() {
        let document = set(&[
            rsa(r#","kid":"good""#),
            rsa(r#","kid":"enc","use":"enc""#),
            rsa(r#","kid":"ps","alg":"PS256""#),
            rsa(r#","kid":7"#),
            rsa(r#","kid":"twice","e":"AQAB""#),
            r#"{"kty":"EC","kid":"ec","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"RSA","kid":"short","n":"AQAB","e":"AQAB"}"#.to_owned(),
            "null".to_owned(),
        ]);

        let described = describe(document.as_bytes()).unwrap();

        let filter = KeySet::parse(document.as_bytes()).unwrap();
        let used: Vec<_> = described
            .iter()
            .filter(|key| key.is_used())
            .map(|key| (key.kid.as_deref(), key.thumbprint.as_deref()))
            .collect();
        let keys: Vec<_> =
            filter.keys.iter().map(|key| (key.kid(), Some(key.thumbprint()))).collect();
        assert_eq!(used, keys);
        let skipped: Vec<_> = described
            .iter()
            .enumerate()
            .filter_map(|(index, key)| {
                let kid = key.kid.as_ref().map(|kid| format!(" (kid {kid:?})"));
                let refusal = key.refusal.as_ref()?;
                Some(format!("keys[{index}]{}: {refusal}", kid.unwrap_or_default()))
            })
            .collect();
        assert_eq!(skipped, filter.skipped.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn a_key_that_is_skipped_has_its_thumbprint_and_length_too() {
        let document = set(&[rsa(r#","kid":"a""#), rsa(r#","kid":"a","use":"enc""#)]);

        let keys = describe(document.as_bytes()).unwrap();

        assert_eq!((keys[0].bits, keys[1].bits), (Some(2048), Some(2048)));
        assert!(keys[0].thumbprint.is_some());
        assert_eq!(keys[0].thumbprint, keys[1].thumbprint);
    }

    #[test]
    fn the_thumbprint_of_an_ed25519_key_is_that_of_rfc_8037() {
        // RFC 8037, appendix A.3.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let document = set(&[format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"ed"}}"#)]);

        let keys = describe(document.as_bytes()).unwrap();

        let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(keys[0].thumbprint.as_deref(), Some(thumbprint));
    }

    #[test]
    fn a_symmetric_key_has_no_thumbprint() {
        let keys = describe(br#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).unwrap();

        assert_eq!(keys[0].thumbprint, None);
        assert_eq!(keys[0].refusal.as_deref(), Some("kty is not RSA"));
    }

    #[test]
    fn what_is_no_set_is_refused_as_by_the_filter() {
        let many = set(&vec!["{}".to_owned(); 1025]);
        let large = vec![b' '; jwk::MAX_JWKS_BYTES + 1];
        for document in
            [&b"{"[..], b"{}", b"[]", br#"{"keys":[],"keys":[]}"#, many.as_bytes(), &large]
        {
            assert_eq!(describe(document).err(), KeySet::parse(document).err());
            assert!(describe(document).is_err());
        }
    }

    #[test]
    fn a_set_without_keys_is_described_as_one() {
        assert_eq!(describe(br#"{"keys":[]}"#), Ok(Vec::new()));
    }
}
