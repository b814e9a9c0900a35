//! What a scenario is run with.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use lab::resources::Balancer;
use lab::token::{Key, Token};

#[derive(Clone, Copy)]
pub(super) struct Setup {
    pub(super) balancer: Balancer,
    pub(super) pods: usize,
    pub(super) workers: u32,
    pub(super) kids: Kids,
    pub(super) crypto: Crypto,
}

/// What pods call their keys.
#[derive(Clone, Copy)]
pub(super) enum Kids {
    None,
    /// Every key has one of its own.
    Own,
    /// All keys have the same.
    Shared,
}

/// Who checks signatures.
#[derive(Clone, Copy)]
pub(super) enum Crypto {
    Host,
    Wasm,
}

impl Setup {
    /// As a pod publishes the key.
    pub(super) fn jwk(&self, key: &Key) -> Value {
        match self.kids {
            Kids::Own => key.jwk(),
            Kids::Shared => key.jwk_named(SHARED),
            Kids::None => {
                let mut jwk = key.jwk();
                jwk.as_object_mut().and_then(|members| members.remove("kid")).expect("a kid");
                jwk
            }
        }
    }

    /// A good token of the key, which nobody has seen before: no verdict comes from a cache.
    pub(super) fn token(&self, key: &'static Key) -> Token {
        let token = fresh(Token::good().signed_by(key));
        match self.kids {
            Kids::Own => token,
            Kids::Shared => token.header("kid", SHARED),
            Kids::None => token.without_header("kid"),
        }
    }
}

/// The token with a `jti` of its own.
pub(super) fn fresh(token: Token) -> Token {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    token.claim("jti", NEXT.fetch_add(1, Ordering::SeqCst))
}

impl fmt::Display for Kids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no kid",
            Self::Own => "own kids",
            Self::Shared => "shared kid",
        })
    }
}

impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Wasm => "wasm",
        })
    }
}

/// As the variables of the long form say it.
impl FromStr for Kids {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "own" => Ok(Self::Own),
            "shared" => Ok(Self::Shared),
            _ => Err(()),
        }
    }
}

impl FromStr for Crypto {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "host" => Ok(Self::Host),
            "wasm" => Ok(Self::Wasm),
            _ => Err(()),
        }
    }
}

const SHARED: &str = "main";
