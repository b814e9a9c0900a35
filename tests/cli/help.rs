//! What the command line says about itself.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::command::mesh_jwt;

#[test]
fn the_help_of_every_command_holds_an_example() {
    let commands = commands();

    assert!(commands.contains(&"probe".to_owned()), "{commands:?}");
    for command in commands {
        let run = mesh_jwt(&[&command, "--help"]);

        assert_eq!(run.code, 0, "{command}");
        let (_, examples) = run.stdout.split_once("Example").expect(&command);
        assert!(examples.contains(&format!("mesh-jwt {command}")), "{command}: {examples}");
    }
}

#[test]
fn every_shell_gets_completions_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let run = mesh_jwt(&["completions", shell]);

        assert_eq!(run.code, 0, "{shell}");
        for command in commands() {
            assert!(run.stdout.contains(&command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn bash_completes_commands_and_options() {
    for (words, expected) in [("pro", "probe"), ("probe --cac", "--cacert")] {
        let last = words.rsplit(' ').next().expect("a word");
        let script = format!(
            "{}
            completer=$(complete -p mesh-jwt); completer=${{completer#*-F }}
            COMP_WORDS=(mesh-jwt {words})
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            ${{completer%% *}} mesh-jwt {last} mesh-jwt
            echo \"${{COMPREPLY[@]}}\"",
            mesh_jwt(&["completions", "bash"]).stdout
        );

        assert_eq!(bash(&script).trim(), expected);
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);

    let run = Command::new(env!("CARGO_BIN_EXE_mesh-jwt")).arg("why").stdout(writer).output();

    let run = run.expect("the binary can be executed");
    assert_eq!(run.status.signal(), Some(SIGPIPE));
    assert_eq!(String::from_utf8_lossy(&run.stderr), "");
}

/// The names in the help.
fn commands() -> Vec<String> {
    let help = mesh_jwt(&["--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    // A long description goes on in the next line, further to the right.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What a script prints, all of which bash must accept.
fn bash(script: &str) -> String {
    let mut bash = Command::new("bash")
        .args(["--noprofile", "--norc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut stdin = bash.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("bash reads");
    drop(stdin);
    let output = bash.wait_with_output().expect("bash ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// On every architecture of Linux.
const SIGPIPE: i32 = 13;
