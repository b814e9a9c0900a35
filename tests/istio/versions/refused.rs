//! Every version accepts the manifests, and what it refuses, the project's schemas refuse as well.

use std::collections::BTreeSet;

use super::variants;
use crate::kustomize::Resource;
use crate::manifests;
use crate::schema::{self, Schema};

#[test]
fn every_version_accepts_every_manifest() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        for resource in resources() {
            let crd = version.crd(resource.text("/apiVersion"), resource.kind());
            let Some(crd) = crd else { continue };
            let problems = schema::problems(&crd.validator, &resource);
            assert!(problems.is_empty(), "{}: {problems:#?}", version.name);
        }
    }
}

/// Of all that differs from a manifest in one place.
#[test]
fn schemas_refuse_what_a_version_refuses() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        let (mut missed, mut refused) = (BTreeSet::new(), 0);
        for resource in resources() {
            let (group, kind) = (resource.text("/apiVersion"), resource.kind());
            let ours = Schema::of(group, kind).expect("a schema");
            let Some(theirs) = version.crd(group, kind) else { continue };
            for variant in variants::of(&resource, &ours.text) {
                let problems = schema::problems(&theirs.validator, &variant);
                refused += problems.len();
                if !problems.is_empty() && ours.validator.is_valid(&variant.value) {
                    missed.extend(problems);
                }
            }
        }
        assert!(missed.is_empty(), "{}: {missed:#?}", version.name);
        assert!(refused > 1000, "{}: only {refused} are refused", version.name);
    }
}

/// All different resources of Istio's that the manifests come to.
fn resources() -> Vec<Resource> {
    let mut found: Vec<Resource> = Vec::new();
    let renderings = manifests::every_directory().into_iter().chain(manifests::every_example());
    for resource in renderings.flatten() {
        let is_known = found.iter().any(|known| known.value == resource.value);
        if !is_known && resource.text("/apiVersion").contains(".istio.io/") {
            found.push(resource);
        }
    }
    found
}
