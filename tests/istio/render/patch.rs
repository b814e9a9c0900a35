//! The two kinds of patches: JSON Merge Patch (RFC 7396), which is what a strategic merge comes to
//! for a custom resource, and JSON Patch (RFC 6902), of which `add`, `remove` and `replace`.

use super::node::{Content, Node, Problem};

pub(crate) fn merge(target: &mut Node, patch: &Node) {
    let (Content::Map(members), Content::Map(changes)) = (&mut target.content, &patch.content)
    else {
        target.clone_from(patch);
        return;
    };
    for (key, change) in changes {
        let index = members.iter().position(|(other, _)| other.name == key.name);
        match (index, &change.content) {
            (Some(index), Content::Null) => drop(members.remove(index)),
            (Some(index), _) => merge(&mut members[index].1, change),
            (None, Content::Null) => {}
            (None, _) => members.push((key.clone(), change.clone())),
        }
    }
}

pub(crate) fn apply(target: &mut Node, operations: &[Node]) -> Result<(), Problem> {
    for operation in operations {
        let field = |name: &str| {
            let text = operation.get(name).and_then(Node::text);
            text.ok_or_else(|| operation.place.problem(format!("the operation has no {name}")))
        };
        let (kind, path) = (field("op")?, field("path")?);
        let missing = || operation.place.problem(format!("there is no {path} to {kind}"));
        let (parent, name) = path.rsplit_once('/').ok_or_else(missing)?;
        let parent = parent.split('/').skip(1).try_fold(&mut *target, child).ok_or_else(missing)?;
        if kind == "remove" {
            remove(parent, name).ok_or_else(missing)?;
            continue;
        }
        let value = operation
            .get("value")
            .ok_or_else(|| operation.place.problem("the operation has no value"))?;
        match kind {
            "add" if matches!(parent.content, Content::Map(_)) => {
                parent.entry(name)?.clone_from(value);
            }
            "replace" => child(parent, name).ok_or_else(missing)?.clone_from(value),
            _ => return Err(operation.place.problem(format!("{kind} {path} is not in use here"))),
        }
    }
    Ok(())
}

fn child<'node>(node: &'node mut Node, name: &str) -> Option<&'node mut Node> {
    match &mut node.content {
        Content::Map(members) => {
            members.iter_mut().find(|(key, _)| key.name == name).map(|(_, value)| value)
        }
        Content::List(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn remove(node: &mut Node, name: &str) -> Option<()> {
    match &mut node.content {
        Content::Map(members) => {
            members.remove(members.iter().position(|(key, _)| key.name == name)?);
        }
        Content::List(items) => {
            let index = name.parse().ok()?;
            items.get(index)?;
            items.remove(index);
        }
        _ => return None,
    }
    Some(())
}
