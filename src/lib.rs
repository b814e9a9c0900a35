//! JWT authentication inside the Envoy or Istio sidecar, as a proxy-wasm filter.
//!
//! The promise: only a signature that a trusted key verifies gives a request an identity, and
//! nothing that a client, an issuer or an operator sends can stop the filter.
//!
//! The core does no I/O. It has no clock and makes no calls: callers pass the time in, and the core
//! returns the work to do as data. Only `plugin`, which exists on wasm32 alone, knows proxy-wasm.
//!
//! ```text
//!  request ──► plugin ──► driver ──► engine ──► screen (rules, location, jose, authn) ─┐
//!                ▲          ▲  │      │  ▲                                             ▼
//!                └─ verdict ┘  │      │  └──────── jwks (keys over time) ◄────────── judge
//!                              │      │               │  ▲
//!  issuer ◄──── plugin ◄───────┴──────┴── fetch ──────┘  └── response, shared data
//! ```
//!
//! The words of this crate:
//!
//! * **provider**: an entry of the configuration: one issuer, or a template of several, and the
//!   handling of their tokens.
//! * **issuer**: the party that signs tokens and publishes its keys; the claim `iss` names it.
//! * **tenant**: one of the issuers of a template. It is *proved* once its own key has verified a
//!   token: until then it may be a client's invention.
//! * **JWK Set**: the document of public keys that the issuer's endpoints publish (RFC 7517).
//! * **candidate key**: a trusted key that may have signed a token: it has the token's `kid` or
//!   none, or the token has none.
//! * **trusted key**: a key that may verify tokens. It is *fresh* for `cacheDuration` after an
//!   endpoint last published it. While fetches fail it is *stale* for `staleDuration` more, unless
//!   it is *withdrawn*: no endpoint publishes it any more. Configured keys do not expire, but the
//!   first fetched set replaces them.
//! * **fetch**: what it takes to get a JWK Set once, from one of the issuer's endpoints at random: one
//!   call, or up to three where the *discovery document*, in either of two places, says where it is.
//! * **miss**: a token that no candidate key verifies.
//! * **search**: the fetches that look for the key of a miss; a budget limits them.
//! * **survey**: the fetches after a set that lacks a trusted key: they show whether endpoints
//!   disagree or the key is withdrawn.
//! * **draw**: a fetch, as a random sample of the endpoints. **Evidence** is how certain the draws
//!   since a request came make it that its key does not exist.
//! * **pause**, **settle**: to hold a request until its verdict, and to carry that verdict out.
//! * **reading**: one way in which a server may understand a path, method or host, or a port that a
//!   connection may have come to. Access is loosened only if every reading allows it.
//! * **requirement**: what a rule demands of a token: its provider, audience, scopes and claims.
//! * **identity**: the headers that tell the upstream who is calling.
//! * **shared data**: the proxy's store, in which the VMs of all workers share fetches and keys by
//!   compare-and-swap.
//!
//! | module | purpose |
//! |---|---|
//! | [`config`] | the plugin configuration and its errors |
//! | [`engine`] | decides requests, and returns the work to do outside |
//! | [`driver`] | does that work with the help of a host: the proxy, or a simulation |
//! | `screen`, `judge` | what can be decided without a key, and the rest |
//! | `claim_text`, `filter_state` | claims as text, and those that access logs are told |
//! | `rules`, `location`, `authn` | what a request needs, where its token is, what the token says |
//! | [`jose`] | compact serialization, claims, JWK Sets, RS256 |
//! | [`jwks`] | which keys are trusted until when, and when to fetch |
//! | [`issuers`], `waiting` | the issuers with their keys, and the requests that wait for those |
//! | `token_cache` | tokens whose signature was verified |
//! | [`verdict`], [`reason`], [`reply`] | the decision on a request, and the reply to the client |
//! | `cors` | which pages of other origins may read that reply |
//! | [`event`], [`metrics`] | what the operator sees |
//! | [`counters`], `timer` | what was counted and not told yet, and when the host wakes the driver |
//! | [`request`], `grammar`, `header_name` | heads of requests, HTTP grammar, owned headers |
//! | `advice` | what is allowed in a configuration, but risky |
//! | `explain` | the way to a decision, step by step, for people |
//! | `string_match` | Istio's `StringMatch`: exact, prefix or regex |
//! | [`per_provider`], `sorted_map`, [`time`] | tables by provider, small maps, the wall clock |

#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod config;
pub mod counters;
pub mod driver;
pub mod engine;
pub mod event;
pub mod filter_state;
pub mod issuers;
pub mod jose;
pub mod jwks;
pub mod metrics;
pub mod per_provider;
pub mod reason;
pub mod reply;
pub mod request;
pub mod time;
pub mod verdict;

mod authn;
mod claim_text;
mod cors;
mod grammar;
mod header_name;
mod judge;
mod location;
mod rules;
mod screen;
mod sorted_map;
mod string_match;
mod timer;
mod token_cache;
mod waiting;

// What only the command line needs: see `src/bin/mesh-jwt`.
#[cfg(not(target_arch = "wasm32"))]
pub mod advice;
#[cfg(not(target_arch = "wasm32"))]
pub mod explain;
#[cfg(target_arch = "wasm32")]
mod plugin;
