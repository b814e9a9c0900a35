//! `mesh-jwt completions`: a script that has a shell complete the command line.

use clap_complete::Shell;

pub(crate) fn print(shell: Shell, command: &mut clap::Command) {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "mesh-jwt", &mut script);
    let script = String::from_utf8_lossy(&script);
    // For bash, clap writes a name with a hyphen in two ways, and so finds no option of a command:
    // https://github.com/clap-rs/clap/issues/6421.
    anstream::print!("{}", script.replace("mesh__subcmd__jwt", "mesh__jwt"));
}
