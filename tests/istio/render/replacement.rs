//! `replacements`: values from one resource into fields of others.

use super::kustomize::{Selector, known, required};
use super::node::{Content, Node, Problem};

/// Does one entry of `replacements`.
pub(crate) fn replace(resources: &mut [Node], entry: &Node) -> Result<(), Problem> {
    known(entry, &["source", "targets"])?;
    let value = source(resources, required(entry, "source")?)?;
    let targets = required(entry, "targets")?;
    for target in targets.items().unwrap_or_default() {
        known(target, &["select", "fieldPaths", "options"])?;
        let selector = Selector::read(required(target, "select")?)?;
        let paths = required(target, "fieldPaths")?.items().unwrap_or_default();
        for resource in resources.iter_mut().filter(|resource| selector.matches(resource)) {
            for path in paths {
                let field = find(resource, path)?;
                // The line of the value says more than that of the field: it is what one edits.
                *field = match target.get("options") {
                    Some(options) => Part::read(options)?.put(field, &value)?,
                    None => value.clone(),
                };
            }
        }
    }
    Ok(())
}

fn source(resources: &[Node], source: &Node) -> Result<Node, Problem> {
    known(source, &["kind", "name", "fieldPath", "options"])?;
    let selector = Selector {
        kind: required(source, "kind")?.text().map(str::to_owned),
        name: required(source, "name")?.text().map(str::to_owned),
    };
    let mut found = resources.iter().filter(|resource| selector.matches(resource));
    let (Some(resource), None) = (found.next(), found.next()) else {
        return Err(source.place.problem("this names no resource, or more than one"));
    };
    let path = required(source, "fieldPath")?;
    let names: Vec<_> = path.text().unwrap_or_default().split('.').collect();
    let value = resource.at(&names).ok_or_else(|| {
        resource.place.problem(format!("{} is missing", path.text().unwrap_or_default()))
    })?;
    match source.get("options") {
        Some(options) => Part::read(options)?.take(value),
        None => Ok(value.clone()),
    }
}

/// The piece of a text between two delimiters.
struct Part<'node> {
    delimiter: &'node str,
    index: usize,
}

impl<'node> Part<'node> {
    fn read(options: &'node Node) -> Result<Self, Problem> {
        known(options, &["delimiter", "index"])?;
        let delimiter = required(options, "delimiter")?.text().unwrap_or_default();
        let index = required(options, "index")?.json().as_u64();
        let index = index.and_then(|index| index.try_into().ok());
        let index = index.ok_or_else(|| options.place.problem("the index is not one"))?;
        Ok(Self { delimiter, index })
    }

    fn take(&self, value: &Node) -> Result<Node, Problem> {
        let text = value.text().unwrap_or_default();
        let part = text.split(self.delimiter).nth(self.index);
        let part = part.ok_or_else(|| value.place.problem("this has too few parts"))?;
        Ok(Node::string(&value.place, part))
    }

    fn put(&self, field: &Node, value: &Node) -> Result<Node, Problem> {
        let mut parts: Vec<_> = field.text().unwrap_or_default().split(self.delimiter).collect();
        let part = parts.get_mut(self.index);
        let part = part.ok_or_else(|| field.place.problem("this has too few parts"))?;
        *part = value.text().unwrap_or_default();
        Ok(Node::string(&value.place, &parts.join(self.delimiter)))
    }
}

/// The field at a path such as `spec.providers.0.issuer`.
fn find<'node>(resource: &'node mut Node, path: &Node) -> Result<&'node mut Node, Problem> {
    let text = path.text().unwrap_or_default();
    let missing = || path.place.problem(format!("there is no {text} to replace"));
    text.split('.').try_fold(resource, |node, name| match &mut node.content {
        Content::Map(members) => members
            .iter_mut()
            .find(|(key, _)| key.name == name)
            .map(|(_, value)| value)
            .ok_or_else(missing),
        Content::List(items) => {
            name.parse::<usize>().ok().and_then(|index| items.get_mut(index)).ok_or_else(missing)
        }
        _ => Err(missing()),
    })
}
