//! Resources of Kubernetes: their names, and for which workloads they are.

use super::super::manifest::{Metadata, Target};
use super::super::reader::{Fault, Field};
use super::super::report::Effect;

/// A resource of `security.istio.io`.
pub(super) struct Resource<'s> {
    pub(super) field: Field<'s>,
    pub(super) target: Target,
}

/// For which workloads a resource is. What the API server writes into it is no configuration.
pub(super) fn target(resource: &Field<'_>) -> Result<Target, Fault> {
    for name in ["apiVersion", "kind", "status"] {
        if let Some(field) = resource.member(name) {
            field.settle();
        }
    }
    let Some(metadata) = resource.member("metadata") else {
        return Err(resource.fault("has no metadata; write at least a name"));
    };
    for name in
        ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"]
    {
        if let Some(field) = metadata.member(name) {
            field.settle();
        }
    }
    if let Some(annotations) = metadata.member("annotations") {
        for (name, annotation) in annotations.fields() {
            if name == "kubectl.kubernetes.io/last-applied-configuration" {
                annotation.settle();
            } else if name != DRY_RUN {
                let mend = "write it into the manifest if something reads it there";
                annotation.lose(Effect::None, "annotations are not carried over", mend);
            }
        }
    }
    let Some(name) = metadata.member("name") else {
        return Err(metadata.fault("has no name; write one"));
    };
    let metadata = Metadata {
        name: name.text()?,
        namespace: metadata.member("namespace").map(|space| space.text()).transpose()?,
        labels: metadata.member("labels").map(|labels| labels.whole()),
    };
    let mut target = Target { metadata, selector: None, target_refs: Vec::new() };
    if let Some(spec) = resource.member("spec") {
        let selector = spec.member("selector").map(|selector| selector.whole());
        target.selector = selector.filter(|selector| {
            selector["matchLabels"].as_object().is_some_and(|labels| !labels.is_empty())
        });
        target.target_refs.extend(spec.member("targetRef").map(|target| target.whole()));
        target.target_refs.extend(spec.list("targetRefs")?.iter().map(Field::whole));
    }
    Ok(target)
}

pub(super) fn is_same(one: &Target, other: &Target) -> bool {
    let workloads = |target: &Target| {
        (target.metadata.namespace.clone(), target.selector.clone(), target.target_refs.clone())
    };
    workloads(one) == workloads(other)
}

/// `namespace/name`.
pub(super) fn name(target: &Target) -> String {
    let Metadata { name, namespace, .. } = &target.metadata;
    namespace.as_ref().map_or_else(|| name.clone(), |space| format!("{space}/{name}"))
}

pub(super) const DRY_RUN: &str = "istio.io/dry-run";
