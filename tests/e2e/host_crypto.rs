//! Signatures: whoever checks them, Envoy's BoringSSL or the module itself, the verdicts are the same
//! and the right ones.

use std::collections::BTreeMap;

use serde_json::Value;

use lab::bootstrap::Bootstrap;
use lab::config::Config;
use lab::forgery::{ENCODINGS, add, pss, subtract};
use lab::http::{Message, Request, Response};
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::upstream::received;

#[test]
fn host_crypto_verifies_where_envoy_offers_it() {
    let sidecar = Sidecar::start(&Config::new());

    sidecar.assert_good_token_passes();

    assert_eq!(sidecar.counted("signature.host"), 1);
    assert_eq!(sidecar.counted("signature.wasm"), 0);
}

#[test]
fn same_verdicts_without_host_crypto() {
    let sidecar = Sidecar::start(&Config::new().set("hostCrypto", "off"));
    let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha").compact();

    sidecar.assert_good_token_passes();
    assert_eq!(sidecar.decide(&Request::get("/").bearer(&forged)), "401 signature_invalid");

    assert!(sidecar.counted("signature.wasm") >= 2);
    assert_eq!(sidecar.counted("signature.host"), 0);
}

#[test]
fn host_and_module_agree_on_every_signature() {
    let config = Config::new().inline_keys(&published());
    let host = Sidecar::start(&config);
    let module = Sidecar::start(&config.clone().set("hostCrypto", "off"));
    let withheld = Sidecar::start_adapted(&config, without_host_crypto);
    let cases = cases();

    let [by_host, by_module, by_withheld] = [&host, &module, &withheld].map(|s| judge(s, &cases));

    for Case { what, expected, .. } in &cases {
        assert_eq!(by_host[what].verdict, *expected, "{what}");
        assert_eq!(by_host[what], by_module[what], "{what}");
        assert_eq!(by_host[what], by_withheld[what], "{what}");
    }
    let [checks, _] = checked(&host);
    assert!(checks > 200, "{checks} checks");
    assert_eq!(checked(&host), [checks, 0]);
    assert_eq!(checked(&module), [0, checks]);
    assert_eq!(checked(&withheld), [0, checks]);
    let log = host.envoy_log();
    assert!(!log.contains("the host does not check"), "the module stepped in, and nobody counted");
}

/// Envoy counts each attempt as an error.
#[test]
fn withheld_host_crypto_is_asked_for_once() {
    let sidecar = Sidecar::start_adapted(&Config::new(), without_host_crypto);
    let errors = errors(&sidecar);

    sidecar.assert_good_token_passes();

    assert_eq!(checked(&sidecar), [0, 1]);
    let attempt = "restricted proxy-wasm capability: proxy_call_foreign_function";
    assert!(errors.iter().all(|line| line.ends_with(attempt)), "{errors:#?}");
    // Envoy configures the module in a VM that it throws away, in its own and in the worker's.
    assert!(errors.len() <= 3, "{errors:#?}");
    assert_eq!(self::errors(&sidecar), errors);
}

/// A token, and what is to become of it.
struct Case {
    what: String,
    token: String,
    expected: &'static str,
}

impl Case {
    /// Every token is another one, so that none is answered from the cache of verified tokens.
    fn new(
        expected: &'static str,
        what: impl Into<String>,
        make: impl FnOnce(Token) -> String,
    ) -> Self {
        let what = what.into();
        Self { token: make(Token::good().claim("jti", what.as_str())), what, expected }
    }

    /// A token by `key`, with this in place of its signature.
    fn signed(
        key: &'static Key,
        what: &str,
        expected: &'static str,
        signature: impl FnOnce(&str) -> Vec<u8>,
    ) -> Self {
        let what = format!("{}: {what}", key.name());
        Self::new(expected, what, |token| token.signed_by(key).compact_with(signature))
    }
}

/// What can be told of a request from outside.
#[derive(Debug, PartialEq)]
struct Outcome {
    verdict: String,
    /// The answer, or what the upstream received.
    message: Vec<String>,
}

fn judge(sidecar: &Sidecar, cases: &[Case]) -> BTreeMap<String, Outcome> {
    // The access log lags behind: first all answers, then what it says about them.
    let ask = |case: &Case| sidecar.send(&Request::get("/").bearer(&case.token));
    let responses: Vec<Response> = cases.iter().map(ask).collect();
    let outcomes = cases.iter().zip(&responses).map(|(case, response)| {
        let is_forwarded = response.status == 200;
        let message = if is_forwarded { received(response) } else { response.message.clone() };
        let verdict = format!("{} {}", response.status, sidecar.code(response));
        (case.what.clone(), Outcome { verdict, message: lines(&message) })
    });
    let outcomes: BTreeMap<_, _> = outcomes.collect();
    assert_eq!(outcomes.len(), cases.len(), "two cases have the same name");
    assert_eq!(sidecar.counted("token_cache.hit"), 0);
    outcomes
}

/// A message, without what differs each time.
fn lines(message: &Message) -> Vec<String> {
    let headers = message.headers.iter().filter(|(name, _)| !VARYING.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| format!("{name}: {value}"));
    let body = String::from_utf8_lossy(&message.body).into_owned();
    [message.start_line.clone(), body].into_iter().chain(headers).collect()
}

fn without_host_crypto(bootstrap: Bootstrap) -> Bootstrap {
    bootstrap.withhold(&["proxy_call_foreign_function"])
}

fn errors(sidecar: &Sidecar) -> Vec<String> {
    let log = sidecar.envoy_log();
    let is_error = |line: &&str| line.contains("[error]") || line.contains("[critical]");
    log.lines().filter(is_error).map(str::to_owned).collect()
}

/// How many signatures the host checked, and how many the module did.
fn checked(sidecar: &Sidecar) -> [u64; 2] {
    ["signature.host", "signature.wasm"].map(|name| sidecar.counted(name))
}

fn published() -> Vec<Value> {
    let mut keys: Vec<_> = [Key::alpha(), Key::beta()].map(Key::jwk).into();
    keys.extend(Key::all_unusual().iter().map(Key::jwk));
    keys.extend([Key::alpha(), Key::beta()].map(|key| key.jwk_named("shared")));
    keys
}

fn cases() -> Vec<Case> {
    let mut cases = good_tokens();
    cases.extend(wrong_keys());
    cases.extend(altered_text());
    for key in [Key::alpha(), Key::unusual("bits-2050"), Key::unusual("exponent-3")] {
        cases.extend(flipped_bits(key));
        cases.extend(other_numbers(key));
        cases.extend(other_lengths(key));
        cases.extend(ENCODINGS.iter().map(|(expected, what, encode)| {
            let size = key.modulus().len();
            Case::signed(key, what, expected, |text| key.exponentiate(&encode(size, text)))
        }));
        cases.push(Case::signed(key, "PSS", INVALID, |text| {
            key.exponentiate(&pss(key.bits(), text))
        }));
    }
    cases
}

fn good_tokens() -> Vec<Case> {
    let good = |what: String, make: fn(Token) -> Token| {
        Case::new(ALLOWED, what, |token| make(token).compact())
    };
    let mut cases = vec![
        good("with a kid".into(), |token| token),
        good("without a kid".into(), |token| token.without_header("kid")),
        good("first key of its kid".into(), |token| token.header("kid", "shared")),
        good("second key of its kid".into(), |token| {
            token.signed_by(Key::beta()).header("kid", "shared")
        }),
    ];
    for key in Key::all_unusual() {
        let what = format!("by {}", key.name());
        cases.push(Case::new(ALLOWED, &what, |token| token.signed_by(key).compact()));
        cases.push(Case::new(ALLOWED, what + " without a kid", |token| {
            token.signed_by(key).without_header("kid").compact()
        }));
    }
    cases
}

fn wrong_keys() -> Vec<Case> {
    let by_gamma = |what, expected, make: fn(Token) -> Token| {
        Case::new(expected, what, |token| make(token.signed_by(Key::gamma())).compact())
    };
    vec![
        by_gamma("unpublished key", "401 key_unknown", |token| token),
        by_gamma("unpublished key without a kid", INVALID, |token| token.without_header("kid")),
        by_gamma("unpublished key, known kid", INVALID, |token| token.header("kid", "alpha")),
        by_gamma("unpublished key, shared kid", INVALID, |token| token.header("kid", "shared")),
        Case::new(INVALID, "known key, kid of another", |token| {
            token.signed_by(Key::beta()).header("kid", "alpha").compact()
        }),
        Case::new(INVALID, "known key, kid of a longer one", |token| {
            token.header("kid", "bits-4096").compact()
        }),
        Case::new(INVALID, "known key, kid of a shorter one", |token| {
            token.signed_by(Key::unusual("bits-4096")).header("kid", "alpha").compact()
        }),
    ]
}

fn altered_text() -> Vec<Case> {
    let signed_otherwise = |what, make: fn(Token) -> Token| {
        Case::new(INVALID, what, |token| {
            let (signed, altered) = (token.compact(), make(token).compact());
            let (_, signature) = signed.rsplit_once('.').expect("a signature");
            let (text, _) = altered.rsplit_once('.').expect("a signature");
            format!("{text}.{signature}")
        })
    };
    vec![
        signed_otherwise("another subject", |token| token.claim("sub", "admin")),
        signed_otherwise("another claim", |token| token.claim("admin", true)),
        signed_otherwise("another header", |token| token.header("typ", "at+jwt")),
    ]
}

fn flipped_bits(key: &'static Key) -> Vec<Case> {
    let last = key.modulus().len() * 8 - 1;
    let bits = (0..8).chain([last / 4, last / 2, last * 3 / 4]).chain(last - 7..=last);
    let flipped = bits.map(|bit| {
        Case::signed(key, &format!("bit {bit} flipped"), INVALID, |text| {
            let mut signature = key.sign(text);
            signature[bit / 8] ^= 0x80 >> (bit % 8);
            signature
        })
    });
    flipped.collect()
}

/// Signatures of the right length that are other numbers, some congruent to the right one.
fn other_numbers(key: &'static Key) -> Vec<Case> {
    let n = key.modulus();
    let size = n.len();
    let one = [vec![0; size - 1], vec![1]].concat();
    let number = |what: &str, number: &[u8]| Case::signed(key, what, INVALID, |_| number.to_vec());
    vec![
        number("zero", &vec![0; size]),
        number("one", &one),
        number("all ones", &vec![0xff; size]),
        number("the modulus", &n),
        number("the modulus less one", &subtract(&n, &one)),
        Case::signed(key, "negative", INVALID, |text| subtract(&n, &key.sign(text))),
        until(key, "the modulus more", INVALID, |signature| add(signature, &n)),
    ]
}

fn other_lengths(key: &'static Key) -> Vec<Case> {
    let altered = |what: &str, expected, alter: fn(&mut Vec<u8>)| {
        Case::signed(key, what, expected, |text| {
            let mut signature = key.sign(text);
            alter(&mut signature);
            signature
        })
    };
    vec![
        altered("empty", "401 token_malformed", Vec::clear),
        altered("one octet", INVALID, |signature| signature.truncate(1)),
        altered("half", INVALID, |signature| signature.truncate(signature.len() / 2)),
        altered("without its end", INVALID, |signature| signature.truncate(signature.len() - 1)),
        altered("without its start", INVALID, |signature| drop(signature.drain(..1))),
        altered("a zero before", INVALID, |signature| signature.insert(0, 0)),
        altered("a zero after", INVALID, |signature| signature.push(0)),
        altered("a word of zeros before", INVALID, |s| drop(s.splice(0..0, [0; 8]))),
        altered("twice", INVALID, |signature| signature.extend(signature.clone())),
        altered("very long", INVALID, |signature| signature.resize(4000, 0)),
        until(key, "a leading zero", ALLOWED, |signature| {
            (signature[0] == 0).then(|| signature.to_vec())
        }),
        until(key, "a leading zero left out", INVALID, |signature| {
            signature.strip_prefix(&[0]).map(<[u8]>::to_vec)
        }),
    ]
}

/// Tries signatures of different tokens until one can be altered in this way.
fn until(
    key: &'static Key,
    what: &str,
    expected: &'static str,
    alter: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Case {
    let mut cases = (0..MAX_TRIES).filter_map(|number| {
        let mut altered = None;
        let what = format!("{what} ({number})");
        let case = Case::signed(key, &what, expected, |text| {
            altered = alter(&key.sign(text));
            altered.clone().unwrap_or_default()
        });
        altered.is_some().then_some(case)
    });
    cases.next().unwrap_or_else(|| panic!("no signature by {} with {what}", key.name()))
}

const ALLOWED: &str = "200 allowed";
const INVALID: &str = "401 signature_invalid";
/// What is sought has a chance of one in 256.
const MAX_TRIES: u32 = 10_000;
const VARYING: [&str; 4] =
    ["content-length", "date", "x-envoy-upstream-service-time", "x-request-id"];
