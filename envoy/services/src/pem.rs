//! Keys as environment variables hold them (RFC 7468).

/// The text with its line breaks, which may be written as `\n`: that is how keys arrive through
/// `.env` files and manifests that can only hold one line.
pub(crate) fn with_line_breaks(text: &str) -> String {
    text.replace("\\n", "\n").trim().to_owned()
}

/// The documents that stand one after the other in a text. What is not within one becomes a part of
/// the next, which then cannot be read: no key that has lost its first line is passed over.
pub(crate) fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in with_line_breaks(text).lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
        if line.starts_with("-----END ") {
            documents.push(String::new());
        }
    }
    documents.retain(|document| !document.is_empty());
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart() {
        let text = "-----BEGIN A-----\nAAAA\n-----END A-----\n\n-----BEGIN B-----\n-----END B-----";

        let expected =
            ["-----BEGIN A-----\nAAAA\n-----END A-----\n", "-----BEGIN B-----\n-----END B-----\n"];
        assert_eq!(documents(text), expected);
        assert_eq!(documents(&text.replace('\n', "\\n")), expected);
        assert_eq!(documents(&text.replace('\n', "\r\n  ")), expected);
    }

    #[test]
    fn what_is_no_document_is_not_passed_over() {
        assert_eq!(documents("AAAA\n-----END A-----"), ["AAAA\n-----END A-----\n"]);
        assert_eq!(
            documents("-----BEGIN A-----\n-----END A-----\nAAAA"),
            ["-----BEGIN A-----\n-----END A-----\n", "AAAA\n"]
        );
        assert_eq!(documents(" \n\\n"), [""; 0]);
    }
}
