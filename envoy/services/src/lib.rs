//! What the two demo services share: the keys of `auth-service`, and how both are served.

mod issuer_keys;
mod key_error;
mod pem;
mod public_key;
mod server;
mod signing_key;

pub use issuer_keys::{IssuerKeys, KeySettingsError};
pub use key_error::{KeyError, MIN_MODULUS_BITS};
pub use public_key::PublicKey;
pub use server::serve;
pub use signing_key::SigningKey;
