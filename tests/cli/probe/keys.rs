//! What is told of each key.

use lab::issuer::{Answer, Issuer};
use lab::token::Key;
use serde_json::json;

use super::{probe, verdict};

#[test]
fn keys_are_told_with_what_the_filter_makes_of_them() {
    let mut for_encryption = Key::beta().jwk();
    for_encryption["use"] = json!("enc");
    let keys = vec![Key::unusual("bits-4096").jwk(), for_encryption];
    let issuer = Issuer::start(Answer::Keys(keys));

    let run = probe(issuer.address(), &["--times", "1"]);

    assert_eq!(run.code, 0);
    let line = |kid: &str| {
        let mut lines = run.stdout.lines().map(str::split_whitespace);
        let found = lines.find_map(|mut words| (words.next() == Some(kid)).then_some(words));
        found.expect("a line of the key").skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("bits-4096"), "4096 RS256 sig uses it");
    assert_eq!(line("beta"), "2048 RS256 enc skips it: use is not sig");
    run.assert_prints(&["One answer", "no Cache-Control", "after 420 to 540 s"]);
}

#[test]
fn a_set_of_which_nothing_can_be_used_is_a_finding() {
    let mut other = Key::alpha().jwk();
    other["alg"] = json!("PS256");
    for keys in [Vec::new(), vec![other]] {
        let issuer = Issuer::start(Answer::Keys(keys));

        let run = probe(issuer.address(), &["--json"]);

        assert_eq!(verdict(&run), ("noUsableKey".to_owned(), 1));
    }
}

#[test]
fn a_kid_cannot_drive_the_terminal() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk_named("\u{1b}[2J\u{7}red")]));

    let run = probe(issuer.address(), &[]);

    assert_eq!(run.code, 0);
    assert!(!run.stdout.contains(['\u{1b}', '\u{7}']), "{run:?}");
    run.assert_prints(&["\\u{1b}[2J\\u{7}red"]);
}
