//! Tests the host's crypto with known answers before relying on it.

use super::public_key::PublicKey;
use super::rs256::{Crypto, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

impl Crypto {
    /// The host, if it gives the known answers; otherwise the module.
    #[must_use]
    pub fn of_host(make: fn(&PublicKey) -> Option<Verifier>) -> Self {
        let host = Self::Host(make);
        if is_given_by(host) { host } else { Self::Module }
    }
}

/// Whether this accepts the example of RFC 7515 appendix A.2, and refuses a changed signature and
/// another text.
fn is_given_by(crypto: Crypto) -> bool {
    let verifier = PublicKey::from_base64url(N, E).ok().and_then(|key| crypto.verifier(&key));
    let (Some(verifier), Ok(signature)) = (verifier, URL_SAFE_NO_PAD.decode(SIGNATURE)) else {
        return false;
    };
    let mut changed = signature.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    verifier.verifies(SIGNED.as_bytes(), &signature)
        && !verifier.verifies(SIGNED.as_bytes(), &changed)
        && !verifier.verifies(&[], &signature)
}

pub(super) const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
pub(super) const E: &str = "AQAB";
pub(super) const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
pub(super) const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_gives_the_known_answers() {
        assert!(is_given_by(Crypto::Module));
    }

    #[test]
    fn a_host_that_always_gives_the_same_answer_is_not_used() {
        let yes = |_: &PublicKey| Some(Verifier::from_fn(|_, _| true));
        let no = |_: &PublicKey| Some(Verifier::from_fn(|_, _| false));

        for host in [yes, no, |_: &PublicKey| None] {
            assert!(matches!(Crypto::of_host(host), Crypto::Module));
        }
    }

    #[test]
    fn a_host_that_gives_the_known_answers_is_used() {
        let host = |key: &PublicKey| Crypto::Module.verifier(key);

        assert!(matches!(Crypto::of_host(host), Crypto::Host(_)));
    }
}
