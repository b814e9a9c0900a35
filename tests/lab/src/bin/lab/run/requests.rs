//! Requests to try, as commands for a shell.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Result;

/// A command, and what comes of it.
pub(crate) struct Request {
    pub(crate) status: u16,
    pub(crate) why: &'static str,
    pub(crate) command: String,
}

/// Says how to log in, and what to try then.
pub(crate) fn print(out: &mut impl Write, address: SocketAddr) -> Result<()> {
    writeln!(out, "Log in as alice:\n\n  {}\n\nand try:\n", login(address))?;
    for Request { status, why, command } in all(address) {
        writeln!(out, "  {command}\n    # {status}: {why}")?;
    }
    Ok(())
}

/// Sets `TOKEN` in the shell.
pub(crate) fn login(address: SocketAddr) -> String {
    format!(
        "TOKEN=$(curl -s http://{address}/api/login -H 'Content-Type: application/json' \
         -d '{{\"username\":\"alice\"}}' \
         | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
    )
}

/// What is to be seen.
pub(crate) fn all(address: SocketAddr) -> [Request; 5] {
    let bearer = r#" -H "Authorization: Bearer $TOKEN""#;
    let tampered = r#" -H "Authorization: Bearer ${TOKEN%????}AAAA""#;
    [
        (200, "her token", "/orders", bearer),
        (401, "no token", "/orders", ""),
        (401, "a token with another signature", "/orders", tampered),
        (403, "alice lacks the scope admin:write", "/admin/users", bearer),
        (200, "public, no token", "/public/hello", ""),
    ]
    .map(|(status, why, path, header)| {
        let command = format!("curl -si http://{address}{path}{header}");
        Request { status, why, command }
    })
}
