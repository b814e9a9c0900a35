//! What the two demo services share: the signing key of `auth-service`, and how both are served.

mod server;
mod signing_key;

pub use server::serve;
pub use signing_key::{KeyError, SigningKey};
