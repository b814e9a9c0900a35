use std::env;
use std::fmt;

use jsonwebtoken::jwk::JwkSet;

use crate::key_error::KeyError;
use crate::public_key::PublicKey;
use crate::signing_key::SigningKey;

/// The keys of an issuer: one signs, and the others are published beside it, because tokens of them
/// are still about or will be. That is what lets replicas rotate their shared key.
#[derive(Debug)]
pub struct IssuerKeys {
    signing: SigningKey,
    /// None is the key that signs, and no two are the same.
    others: Vec<PublicKey>,
    is_generated: bool,
}

impl IssuerKeys {
    /// Reads `JWT_RSA_PRIVATE_KEY`, `JWT_RSA_PUBLIC_KEYS` and `JWT_KEY_ID`.
    ///
    /// Without the first, a key is made. The second holds any number of keys, or is empty as it is
    /// between two rotations.
    pub fn from_env() -> Result<Self, KeySettingsError> {
        let [private, public, kid] = [PRIVATE_KEY, PUBLIC_KEYS, KEY_ID].map(text);

        Self::from_settings(private?.as_deref(), public?.as_deref(), kid?)
    }

    fn from_settings(
        private: Option<&str>,
        public: Option<&str>,
        kid: Option<String>,
    ) -> Result<Self, KeySettingsError> {
        let others = PublicKey::all_from_pem(public.unwrap_or_default())
            .map_err(|(number, error)| KeySettingsError::PublicKey { number, error })?;
        if !others.is_empty() && private.is_none() {
            return Err(KeySettingsError::NobodySigns);
        }
        if !others.is_empty() && kid.is_some() {
            return Err(KeySettingsError::OneNameForAll);
        }
        let signing = match private {
            // Set but empty is refused too: a secret that got lost on its way must not turn into a
            // key per replica.
            Some(pem) => SigningKey::from_pem(pem, kid).map_err(KeySettingsError::PrivateKey)?,
            None => SigningKey::generate(kid).map_err(KeySettingsError::Generated)?,
        };
        let mut keys = Self { signing, others: Vec::new(), is_generated: private.is_none() };
        for key in others {
            // During a rotation the next key becomes the current one: it may be named twice.
            if !keys.published().any(|known| known.is_same(&key)) {
                keys.others.push(key);
            }
        }
        Ok(keys)
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Whether the key that signs was made just now: no other replica has it.
    pub fn is_generated(&self) -> bool {
        self.is_generated
    }

    /// The keys that are published without signing.
    pub fn others(&self) -> &[PublicKey] {
        &self.others
    }

    /// The JWK Set to publish. The key that signs comes first.
    pub fn jwk_set(&self) -> JwkSet {
        JwkSet { keys: self.published().map(|key| key.jwk().clone()).collect() }
    }

    fn published(&self) -> impl Iterator<Item = &PublicKey> {
        [self.signing.public()].into_iter().chain(&self.others)
    }
}

/// The value of a variable, if it is set.
fn text(variable: &'static str) -> Result<Option<String>, KeySettingsError> {
    match env::var(variable) {
        Ok(text) => Ok(Some(text)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(KeySettingsError::NotText(variable)),
    }
}

/// What is wrong with the variables, and what mends it.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySettingsError {
    /// No key could be made.
    Generated(KeyError),
    /// Keys are to be published, but each replica would sign with a key of its own.
    NobodySigns,
    /// The variable of this name does not hold text.
    NotText(&'static str),
    /// `JWT_KEY_ID` names one key, and there are several.
    OneNameForAll,
    /// The key that signs is of no use.
    PrivateKey(KeyError),
    /// So is a key that is to be published.
    PublicKey {
        /// Which one, counted from 1.
        number: usize,
        /// Why.
        error: KeyError,
    },
}

impl fmt::Display for KeySettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated(error) => write!(f, "no key could be made: {error}"),
            Self::NobodySigns => write!(
                f,
                "{PRIVATE_KEY} is not set, but {PUBLIC_KEYS} is: set the former to the key that \
                 all replicas sign with, or unset the latter"
            ),
            Self::NotText(variable) => {
                write!(f, "{variable} is not text in UTF-8; set it again, or unset it")
            }
            Self::OneNameForAll => write!(
                f,
                "{KEY_ID} would name the key that signs, whichever that is, and a token could not \
                 tell it from those of {PUBLIC_KEYS}: unset {KEY_ID}, and each key goes by its \
                 thumbprint"
            ),
            Self::PrivateKey(error) => write!(
                f,
                "{PRIVATE_KEY}: {error}; make one with \
                 `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`, \
                 or unset the variable to have one made at start"
            ),
            Self::PublicKey { number, error } => write!(
                f,
                "{PUBLIC_KEYS}: key {number}: {error}; get one from its private key with \
                 `openssl pkey -pubout`, or leave the variable empty to publish no other key"
            ),
        }
    }
}

impl std::error::Error for KeySettingsError {}

const PRIVATE_KEY: &str = "JWT_RSA_PRIVATE_KEY";
const PUBLIC_KEYS: &str = "JWT_RSA_PUBLIC_KEYS";
const KEY_ID: &str = "JWT_KEY_ID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_that_signs_comes_first_and_no_key_twice() {
        let others = format!("{BETA}\n{ALPHA}\n{BETA}");

        let keys = IssuerKeys::from_settings(Some(ALPHA), Some(&others), None).unwrap();

        let set = keys.jwk_set().keys;
        let kids: Vec<_> = set.iter().filter_map(|jwk| jwk.common.key_id.as_deref()).collect();
        assert_eq!(kids, [keys.signing().public().kid(), keys.others()[0].kid()]);
        assert_ne!(kids[0], kids[1]);
        assert!(!keys.is_generated());
    }

    #[test]
    fn between_rotations_there_is_one_key() {
        for public in [None, Some(""), Some("\n \n")] {
            let keys =
                IssuerKeys::from_settings(Some(ALPHA), public, Some("k1".to_owned())).unwrap();

            assert_eq!(keys.jwk_set().keys.len(), 1);
            assert_eq!(keys.signing().public().kid(), "k1");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (private, public, kid, error) in [
            (None, BETA, None, KeySettingsError::NobodySigns),
            (Some(ALPHA), BETA, Some("k1".to_owned()), KeySettingsError::OneNameForAll),
            (Some(""), "", None, KeySettingsError::PrivateKey(KeyError::NoPrivateKey)),
            (
                Some(ALPHA),
                "null",
                None,
                KeySettingsError::PublicKey { number: 1, error: KeyError::NoPublicKey },
            ),
        ] {
            let refused = IssuerKeys::from_settings(private, Some(public), kid).unwrap_err();

            assert_eq!(refused, error);
        }
    }

    const ALPHA: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/alpha.pem"));
    const BETA: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/beta.pem"));
}
