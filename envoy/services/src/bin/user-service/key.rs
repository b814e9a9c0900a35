//! Which published keys verify tokens: those that the filter takes as well.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use mesh_jwt_demo::MIN_MODULUS_BITS;
use rsa::BigUint;

/// The key, if it is an RSA key for signatures with RS256 (RFC 7517 §4.2 to §4.4) that is long
/// enough for them (RFC 7518 §3.3).
pub(crate) fn verifying_key(jwk: &Jwk) -> Option<DecodingKey> {
    let AlgorithmParameters::RSA(rsa) = &jwk.algorithm else { return None };
    let common = &jwk.common;
    let modulus = BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(&rsa.n).ok()?);
    let is_usable = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|of| of.contains(&KeyOperations::Verify))
        && common.key_algorithm.is_none_or(|of| of == KeyAlgorithm::RS256)
        && modulus.bits() >= MIN_MODULUS_BITS;

    if is_usable { DecodingKey::from_jwk(jwk).ok() } else { None }
}
