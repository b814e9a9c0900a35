//! Links between the files of the project lead somewhere.

use std::fs;
use std::path::Path;

use lab::checkout;
use regex_lite::Regex;

use crate::blocks::guides;

#[test]
fn links_of_documents_lead_to_files_and_headings() {
    let root = checkout::root();
    let mut documents = guides();
    documents.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "istio/README.md"]
            .map(|name| root.join(name)),
    );
    let link = Regex::new(r"\]\(([^()\s]+)\)").expect("a pattern");
    let mut followed = 0;
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => document.clone(),
                file => document.parent().expect("a folder").join(file),
            };
            assert!(file.exists(), "{}: {target} leads nowhere", document.display());
            if !heading.is_empty() {
                assert!(
                    has_heading(&file, heading),
                    "{}: {target} has no heading",
                    document.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were found");
}

/// Headings are named as GitHub does: in small letters, with `-` for spaces, and without punctuation.
fn has_heading(file: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(file).expect("a document");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim()).any(|heading| {
        let heading = heading.to_lowercase();
        let name = heading.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        });
        name.collect::<String>() == wanted
    })
}
