//! The manifests under `istio/`: rendered by the kustomize in `kubectl`, checked against the schemas of
//! Istio's resources, and their plugin configurations loaded by the filter's own parser.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod check;
mod content;
mod editors;
mod example;
mod extension;
mod external_secret;
mod kustomize;
mod manifests;
mod mistakes;
mod plugin_config;
mod schema;
mod versions;
