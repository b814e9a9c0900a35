//! JWT authentication inside the Envoy or Istio sidecar, as a proxy-wasm filter.
//!
//! The promise: every request is decided by a signature that was checked, with keys that the
//! issuer published recently; nothing that a client, an issuer or an operator sends can stop it.
//!
//! The core does no I/O. It has no clock and makes no calls: the time is an argument, and what is to be
//! done outside comes out as data. Only `plugin`, which exists on wasm32 alone, knows proxy-wasm.
//!
//! ```text
//!  request ──► plugin ──► driver ──► engine ──► rules ──► location ──► jose ──► authn ─┐
//!                ▲          ▲  │      │  ▲                                             ▼
//!                └─ verdict ┘  │      │  └──────── jwks (keys over time) ◄──────── candidate
//!                              │      │               │  ▲
//!  issuer ◄──── plugin ◄───────┴──────┴── fetch ──────┘  └── response, shared data
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | the plugin configuration and its errors |
//! | [`engine`] | what becomes of requests, and what is to be done outside |
//! | [`driver`] | carries that out, with the help of a host: the proxy, or a simulation |
//! | [`jose`] | compact serialization, claims, JWK Sets, RS256 |
//! | `jwks` | which keys are trusted until when, and when to fetch |
//! | `token_cache` | tokens whose signature is known to be good |
//! | `screen` | what can be decided without a key |
//! | `waiting` | the requests that wait for one |
//! | `rules`, `location`, `authn` | what a request needs, where its token is, what the token says |
//! | [`verdict`], [`reason`], [`reply`] | what becomes of a request, and what the caller is told |
//! | [`event`], [`metrics`] | what the operator sees |

#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod config;
pub mod driver;
pub mod engine;
pub mod event;
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
mod grammar;
mod header_name;
mod judge;
mod location;
mod rules;
mod screen;
mod sorted_map;
mod token_cache;
mod waiting;

#[cfg(target_arch = "wasm32")]
mod plugin;
