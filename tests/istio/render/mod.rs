//! Renders the kustomizations under `istio/`, without kustomize: only what those files use, and
//! anything else is an error, so that no feature is silently ignored.

pub(crate) mod kustomize;
pub(crate) mod node;
mod patch;
mod replacement;
mod yaml;
