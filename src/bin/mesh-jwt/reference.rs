//! The reference of the plugin configuration: a table for each of its levels, in Markdown.

use mesh_jwt::config::document::{Field, IfAbsent, Level, levels};
use serde_json::Value;

/// The whole reference.
pub(crate) fn markdown() -> String {
    let levels = levels();
    let sections = levels.iter().map(|level| section(level, &levels));
    [HEAD.to_owned()].into_iter().chain(sections).collect::<Vec<_>>().join("\n")
}

fn section(level: &Level, levels: &[Level]) -> String {
    let rows = level.fields.iter().map(|field| {
        let cells = [name(level, field, levels), if_absent(field), meaning(field)];
        format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
    });
    format!(
        "## {}\n\n{}\n\n| Field | Default | Meaning |\n|---|---|---|\n{}",
        heading(level),
        level.description,
        rows.collect::<String>()
    )
}

fn heading(level: &Level) -> String {
    let paths = level.paths.iter().map(|path| match path.as_str() {
        "" => "Top level".to_owned(),
        path => format!("`{path}`"),
    });
    paths.collect::<Vec<_>>().join(" and ")
}

/// The name of a field, which leads to the level that it holds.
fn name(level: &Level, field: &Field, levels: &[Level]) -> String {
    let code = format!("`{}`", field.name);
    let path = match level.paths.first().map(String::as_str) {
        None | Some("") => field.name.clone(),
        Some(path) => format!("{path}.{}", field.name),
    };
    let held = levels.iter().find(|level| {
        level.paths.iter().any(|other| other.strip_suffix("[]").unwrap_or(other) == path)
    });
    match held {
        Some(held) => format!("[{code}](#{})", anchor(&heading(held))),
        None => code,
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn if_absent(field: &Field) -> String {
    match &field.if_absent {
        IfAbsent::Default(Value::String(text)) if !text.is_empty() => format!("`{text}`"),
        IfAbsent::Default(value) => format!("`{value}`"),
        IfAbsent::InWords(words) => words.clone(),
        IfAbsent::Nothing => "none".to_owned(),
        IfAbsent::OneOf(others) => {
            let others = others.iter().map(|other| format!("`{other}`"));
            format!("required, or {}", others.collect::<Vec<_>>().join(" or "))
        }
        IfAbsent::Required => "required".to_owned(),
    }
}

fn meaning(field: &Field) -> String {
    let words = field.words.iter().map(|word| format!("`{}`: {}", word.word, word.description));
    match words.collect::<Vec<_>>().join("; ") {
        words if words.is_empty() => field.description.clone(),
        words => format!("{} {words}.", field.description),
    }
}

const HEAD: &str = include_str!("reference.md");
