//! The resources that the README shows, which no manifest has.

use std::fs;
use std::path::Path;

use serde_json::Value;

#[test]
fn examples_of_the_readme_are_accepted() {
    let Some(versions) = super::all() else { return };
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("istio/README.md");
    let readme = fs::read_to_string(readme).expect("a README");
    let after_fences = readme.split("```yaml\n").skip(1);
    let examples: Vec<_> =
        after_fences.map(|text| text.split("```").next().expect("an example")).collect();
    assert!(!examples.is_empty());
    for version in versions {
        for example in &examples {
            let resource: Value = serde_saphyr::from_str(example).expect("YAML");
            let text = |name: &str| resource[name].as_str().expect("a text");
            let crd = version.crd(text("apiVersion"), text("kind")).expect("a kind of Istio's");
            let problems: Vec<_> = crd.validator.iter_errors(&resource).collect();
            assert!(problems.is_empty(), "{}: {problems:?}\n{example}", version.name);
        }
    }
}
