//! The forms that a crowd of waiting requests comes in, and what is to become of it.

use std::time::Duration;

use super::{bootstrap, config, junk, published};
use lab::bootstrap::{Bootstrap, FailurePolicy};
use lab::issuer::{Answer, Issuer};
use lab::token::Token;
use lab::upstream::Upstream;

#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) protocol: Protocol,
    policy: FailurePolicy,
    end: End,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What becomes of the requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// They are good.
    Allowed,
    /// They are good, and the next filter refuses them at once.
    AllowedAndRefused,
    /// They are junk, and the issuer publishes its keys.
    Refused,
    /// The issuer fails.
    Unavailable,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    Small,
    /// Handed over to the filter although it has stopped the head.
    HandedOver,
}

impl Form {
    /// Every combination.
    pub(super) fn all() -> Vec<Self> {
        let mut forms = Vec::new();
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for policy in [FailurePolicy::Closed, FailurePolicy::Reload] {
                for end in [End::Allowed, End::AllowedAndRefused, End::Refused, End::Unavailable] {
                    for body in [Body::None, Body::Small, Body::HandedOver] {
                        forms.push(Self { protocol, policy, end, body });
                    }
                }
            }
        }
        forms
    }

    /// Whether it is one of the half that stands for all.
    pub(super) fn is_in_short(self) -> bool {
        let parity = self.protocol as u32 + self.end as u32 + self.body as u32;
        matches!(self.policy, FailurePolicy::Reload) == parity.is_multiple_of(2)
    }

    pub(super) fn bootstrap(
        self,
        upstream: &Upstream,
        issuer: &Issuer,
        patience: Duration,
    ) -> Bootstrap {
        let bootstrap = bootstrap(upstream, issuer, &config(patience)).failure_policy(self.policy);
        let bootstrap = match self.body {
            Body::HandedOver => bootstrap.bodies_despite_stopped_heads(),
            Body::None | Body::Small => bootstrap,
        };
        match self.end {
            End::AllowedAndRefused => bootstrap.refuse_everything(),
            End::Allowed | End::Refused | End::Unavailable => bootstrap,
        }
    }

    pub(super) fn token(self, number: u64) -> String {
        match self.end {
            End::Allowed | End::AllowedAndRefused => Token::good().compact(),
            End::Refused | End::Unavailable => junk(number),
        }
    }

    pub(super) fn body(self) -> &'static [u8] {
        match self.body {
            Body::None => b"",
            Body::Small | Body::HandedOver => b"{}",
        }
    }

    /// What the issuer says when all of them wait.
    pub(super) fn answer(self) -> Answer {
        match self.end {
            End::Unavailable => Answer::raw("500 Internal Server Error", "", b""),
            End::Allowed | End::AllowedAndRefused | End::Refused => published(),
        }
    }

    pub(super) fn expected(self) -> (u16, String) {
        let (status, said) = match self.end {
            End::Refused => (401, "key_unknown"),
            End::Unavailable => (503, "jwks_unavailable"),
            End::Allowed | End::AllowedAndRefused => return self.expected_of_good(),
        };
        (status, said.to_owned())
    }

    pub(super) fn expected_of_good(self) -> (u16, String) {
        let (status, said) = match self.end {
            End::AllowedAndRefused => (403, "RBAC: access denied"),
            End::Allowed | End::Refused | End::Unavailable => (200, "echo"),
        };
        (status, said.to_owned())
    }
}
