//! The fenced blocks of Markdown files.

use std::fs;
use std::path::PathBuf;

use lab::checkout;

/// A fenced block.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
    /// Why no test can run it, if the line before it says so.
    pub(crate) not_run: Option<String>,
    /// Its first line in the file, from 1.
    pub(crate) line: usize,
}

/// Every file of `docs`.
pub(crate) fn guides() -> Vec<PathBuf> {
    let files = fs::read_dir(checkout::root().join("docs")).expect("docs");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    assert!(files.len() > 5, "{files:?}");
    files
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    let (mut before, mut indent) = (String::new(), 0);
    for (line, number) in text.lines().zip(1..) {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let reason = before.strip_prefix("<!-- not run: ");
                indent = line.len() - line.trim_start().len();
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                    not_run: reason.and_then(|text| text.strip_suffix(" -->")).map(str::to_owned),
                    line: number + 1,
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line.get(indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
        if !line.trim().is_empty() {
            before = line.trim().to_owned();
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}
