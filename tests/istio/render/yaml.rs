//! YAML as kubectl reads it, less what the manifests have no use for: anchors, tags, several
//! documents in a file.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::rc::Rc;

use super::node::{Content, Key, Node, Place, Problem};

/// Reads the one document in a text that begins at a place.
pub(crate) fn parse(start: &Place, text: &str) -> Result<Node, Problem> {
    let file = Rc::clone(start.file());
    let mut reader = Reader { file, offset: start.line() - 1, parser: Parser::new_from_str(text) };
    reader.expect(&Event::StreamStart)?;
    let (event, place) = reader.next()?;
    if !matches!(event, Event::DocumentStart(_)) {
        return Err(place.problem("there is nothing in here"));
    }
    let node = reader.node()?;
    reader.expect(&Event::DocumentEnd)?;
    reader.expect(&Event::StreamEnd)?;
    Ok(node)
}

struct Reader<'input> {
    file: Rc<str>,
    offset: usize,
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Place), Problem> {
        let read = self.parser.next().expect("the end of the stream is the last that is read");
        let (event, Span { start, .. }) = read.map_err(|error| {
            Place::new(&self.file, self.offset + error.marker().line()).problem(error.info())
        })?;
        Ok((event, Place::new(&self.file, self.offset + start.line())))
    }

    fn expect(&mut self, expected: &Event<'_>) -> Result<(), Problem> {
        match self.next()? {
            (event, _) if event == *expected => Ok(()),
            (_, place) => Err(place.problem("a file holds one resource; make it two files")),
        }
    }

    fn node(&mut self) -> Result<Node, Problem> {
        let (event, place) = self.next()?;
        self.node_from(event, place)
    }

    fn node_from(&mut self, event: Event<'input>, place: Place) -> Result<Node, Problem> {
        let content = match event {
            Event::Scalar(text, ScalarStyle::Plain, 0, None) => plain(&text, &place)?,
            Event::Scalar(text, _, 0, None) => Content::String(text.into_owned()),
            Event::SequenceStart(0, None) => self.list()?,
            Event::MappingStart(0, None) => self.map()?,
            _ => return Err(place.problem("anchors, aliases and tags are not in use here")),
        };
        Ok(Node { place, content })
    }

    fn list(&mut self) -> Result<Content, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Content::List(items));
            }
            items.push(self.node_from(event, place)?);
        }
    }

    fn map(&mut self) -> Result<Content, Problem> {
        let mut members: Vec<(Key, Node)> = Vec::new();
        loop {
            let (name, place) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Content::Map(members)),
                (Event::Scalar(name, ..), place) => (name.into_owned(), place),
                (_, place) => return Err(place.problem("the name of a member is no text")),
            };
            if members.iter().any(|(key, _)| key.name == name) {
                return Err(place.problem(format!("{name} is here twice")));
            }
            members.push((Key { name, place }, self.node()?));
        }
    }
}

fn plain(text: &str, place: &Place) -> Result<Content, Problem> {
    match text {
        "" | "~" | "null" => return Ok(Content::Null),
        "true" => return Ok(Content::Bool(true)),
        "false" => return Ok(Content::Bool(false)),
        _ => {}
    }
    // kubectl takes these for booleans, other readers do not.
    if ["yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err(place.problem(format!("write \"{text}\" in quotes, or true or false")));
    }
    let looks_like_a_number =
        text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    Ok(match serde_json::from_str(text) {
        Ok(number) if looks_like_a_number => Content::Number(number),
        _ => Content::String(text.to_owned()),
    })
}
