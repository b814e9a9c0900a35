//! The text about each code, from the documentation.

use serde::Serialize;

/// A section of docs/deny-codes.md.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DenyCode {
    pub(crate) code: &'static str,
    /// The HTTP status.
    pub(crate) status: &'static str,
    pub(crate) at_fault: &'static str,
    pub(crate) cause: &'static str,
    pub(crate) check: &'static str,
    pub(crate) mend: &'static str,
}

/// Every code, in the order of the documentation.
pub(crate) fn all() -> Vec<DenyCode> {
    DOCUMENT.split("\n## ").skip(1).filter_map(read).collect()
}

fn read(section: &'static str) -> Option<DenyCode> {
    let (code, rest) = section.split_once('\n')?;
    let (head, rest) = rest.trim_start().split_once("\n\n")?;
    let (status, at_fault) = head.split_once(", at fault: ")?;
    let paragraph = |title: &str| {
        let (_, text) = rest.split_once(title)?;
        let text = text.trim_start();
        Some(text.split_once("\n\n").map_or(text, |(text, _)| text).trim_end())
    };
    Some(DenyCode {
        code: code.trim_matches('`'),
        status,
        at_fault,
        cause: paragraph("**Cause.**")?,
        check: paragraph("**Check.**")?,
        mend: paragraph("**Mend.**")?,
    })
}

/// The text for a terminal, where no link leads anywhere.
pub(crate) fn plain(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().replace('[', "docs/");
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain
}

const DOCUMENT: &str = include_str!("../../../docs/deny-codes.md");

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_jwt::reason::Reason;

    #[test]
    fn links_are_told_as_names_of_files() {
        assert_eq!(
            plain("see [rotating-keys.md](rotating-keys.md)."),
            "see docs/rotating-keys.md."
        );
    }

    #[test]
    fn every_code_has_its_section_with_its_status() {
        let told: Vec<_> = all().iter().map(|code| (code.code, code.status.to_owned())).collect();
        let mut known: Vec<_> =
            Reason::ALL.iter().map(|reason| (reason.code(), reason.status().to_string())).collect();

        for code in &told {
            assert!(known.contains(code), "{code:?}");
        }
        known.retain(|code| !told.contains(code));
        assert_eq!(known, []);
    }
}
