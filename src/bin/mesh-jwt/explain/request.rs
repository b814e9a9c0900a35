//! The head of a request, from a file or around a token.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail, ensure};
use mesh_jwt::explain::TokenPlace;
use mesh_jwt::request::RequestHead;

/// A request, as it is given.
pub(crate) enum Request {
    Whole(Head),
    /// A token that is to be put where the configuration looks for it.
    Token(Head, Vec<u8>),
}

/// The headers of a request, pseudo-headers among them.
#[derive(Clone, Default)]
pub(crate) struct Head {
    headers: Vec<(String, Vec<u8>)>,
}

impl Request {
    pub(crate) fn with_token(method: &str, path: &str, host: &str, token: &[u8]) -> Self {
        let pseudo = [(":method", method), (":path", path), (":authority", host)];
        let headers = pseudo.map(|(name, value)| (name.to_owned(), value.into()));
        Self::Token(Head { headers: headers.into() }, token.into())
    }

    /// Parses the head of an HTTP/1.1 request (RFC 9112 §3), or what `curl -v` prints of one, or the
    /// pseudo-headers of HTTP/2 in place of the request line.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let lines = || (1_u32..).zip(text.split(|byte| *byte == b'\n'));
        // Of curl's lines, those that it sends begin so.
        let is_of_curl = lines().any(|(_, line)| line.starts_with(b"> "));
        let mut head = Head::default();
        for (number, line) in lines() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = match line.strip_prefix(b">") {
                Some(sent) if is_of_curl => sent.trim_ascii_start(),
                None if is_of_curl => continue,
                _ => line,
            };
            if line.is_empty() {
                if head.headers.is_empty() {
                    continue;
                }
                break;
            }
            let read = match head.headers.is_empty() && !line.starts_with(b":") {
                true => head.request_line(line),
                false => head.header(line),
            };
            read.with_context(|| format!("line {number}"))?;
        }
        ensure!(!head.headers.is_empty(), "it is empty; write the head of a request");
        Ok(Self::Whole(head))
    }
}

impl Head {
    /// The same with a token in this place.
    pub(crate) fn with_token(mut self, place: &TokenPlace, token: &[u8]) -> Result<Self> {
        match place {
            TokenPlace::Header { name, prefix } => {
                self.push(name, &[prefix.as_bytes(), token].concat());
            }
            TokenPlace::Cookie(name) => {
                self.push("cookie", &[name.as_bytes(), b"=", token].concat());
            }
            TokenPlace::Param(name) => {
                let path = self.headers.iter_mut().find(|(header, _)| header == ":path");
                let (_, path) = path.context("the request has no path")?;
                let sign: &[u8] = if path.contains(&b'?') { b"&" } else { b"?" };
                path.extend([sign, name.as_bytes(), b"=", token].concat());
            }
        }
        Ok(self)
    }

    pub(crate) fn as_request(&self, port: Option<u16>) -> RequestHead<'_> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let has_body = self.headers.iter().any(|(name, value)| match name.as_str() {
            "content-length" => value.trim_ascii() != b"0",
            "transfer-encoding" => true,
            _ => false,
        });
        headers.collect::<RequestHead<'_>>().with_body(has_body).with_destination_port(port)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<()> {
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let &[method, target, version] = words.as_slice() else { bail!(NO_REQUEST_LINE) };
        ensure!(version.starts_with(b"HTTP/"), NO_REQUEST_LINE);
        let (authority, path) = origin_form(target);
        self.push(":method", method);
        self.push(":path", &path);
        if let Some(authority) = authority {
            self.push(":authority", authority);
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<()> {
        let pseudo = usize::from(line.starts_with(b":"));
        let colon = line.iter().skip(pseudo).position(|byte| *byte == b':');
        let colon = colon.context("is no header; write \"Name: value\"")?.saturating_add(pseudo);
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let name = str::from_utf8(name).context("the name of a header is not ASCII")?.trim();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // Envoy takes the Host header for the authority, and has no other.
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                if !self.headers.iter().any(|(name, _)| name == ":authority") {
                    self.push(":authority", value);
                }
            }
            name => self.push(name, value),
        }
        Ok(())
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        self.headers.push((name.to_owned(), value.into()));
    }
}

/// Authority and path of a target, which may be in absolute form (RFC 9112 §3.2.2).
fn origin_form(target: &[u8]) -> (Option<&[u8]>, Cow<'_, [u8]>) {
    let rest = [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let Some(rest) = rest else { return (None, target.into()) };
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
    // What stands before it is a secret, and no part of a host.
    let authority = authority.rsplit(|byte| *byte == b'@').next();
    let path = match path.first() {
        Some(b'/') => path.into(),
        _ => [b"/", path].concat().into(),
    };
    (authority, path)
}

const NO_REQUEST_LINE: &str = "is no request line; write one such as \"GET /orders HTTP/1.1\"";
