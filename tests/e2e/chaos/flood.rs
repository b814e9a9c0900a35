//! Tokens with made-up `kid`s, thousands of them: anybody can make them, for they need no signature.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::UNDISTURBED;
use lab::config::Config;
use lab::connection::Connection;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::traffic::Traffic;
use lab::wait;

#[test]
fn of_junk_kids_is_harmless_on_one_worker() {
    assert_flood_is_harmless(1);
}

#[test]
fn of_junk_kids_is_harmless_on_four_workers() {
    assert_flood_is_harmless(4);
}

/// A new key is looked for all the time while the flood lasts.
#[test]
fn of_junk_kids_keeps_no_new_key_out() {
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Keys(vec![Key::alpha().jwk()]), 4);
    let traffic = Traffic::start(sidecar.address(), &[Token::good()]);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stopped);
        for client in 0..FLOOD_CLIENTS {
            let kids = (client..).step_by(FLOOD_CLIENTS);
            let kids = kids.take_while(|_| !stopped.load(Ordering::SeqCst));
            scope.spawn(|| refuse_each(sidecar.address(), kids));
        }
        wait::until("the flood has spent the burst", FLOOD_LIMIT, || {
            (sidecar.issuer.fetches().len() > 30).then_some(())
        });

        let keys = [Key::alpha(), Key::beta()].map(Key::jwk);
        sidecar.issuer.answer(Answer::Keys(keys.into()));

        for _ in 0..20 {
            sidecar.assert_passes(&Token::good().signed_by(Key::beta()));
        }
    });
    traffic.assert_undisturbed(UNDISTURBED);
}

fn assert_flood_is_harmless(workers: u32) {
    // Forty fetches a minute, and a wait that is too short to tell.
    let config = Config::new().provider("refetchCooldown", "1m").set("jwksWaitTimeout", "100ms");
    let sidecar = Sidecar::start_with(&config, Answer::Keys(vec![Key::alpha().jwk()]), workers);
    let traffic = Traffic::start(sidecar.address(), &[Token::good()]);
    traffic.flow(20);
    let fetches = sidecar.issuer.fetches().len();

    flood(sidecar.address(), 0..KIDS);
    let after_one = sidecar.resident_bytes();
    flood(sidecar.address(), KIDS..2 * KIDS);
    let after_two = sidecar.resident_bytes();

    let caused = sidecar.issuer.fetches().len() - fetches;
    // The burst, what a minute adds, and the probes after the start.
    assert!((1..=30 + 40 + 4).contains(&caused), "{caused} fetches");
    let grown = after_two.saturating_sub(after_one);
    assert!(grown < GROWTH_LIMIT, "grown by {grown} bytes, from {after_one}");
    assert_eq!(sidecar.stat("paused"), 0);
    traffic.assert_undisturbed(UNDISTURBED);
}

/// Sends one token for each number from several clients; each must be refused.
fn flood(address: SocketAddr, kids: Range<usize>) {
    thread::scope(|scope| {
        for client in 0..FLOOD_CLIENTS {
            let kids = kids.clone().skip(client).step_by(FLOOD_CLIENTS);
            scope.spawn(move || refuse_each(address, kids));
        }
    });
}

fn refuse_each(address: SocketAddr, kids: impl Iterator<Item = usize>) {
    let mut connection = Connection::new(address);
    for kid in kids {
        let response = connection.get("/", &junk(kid)).expect("an answer in time");
        let code = &response.json()["code"];
        assert!(code == "key_unknown" || code == "jwks_unavailable", "{code}");
    }
}

/// Ends the flood whatever becomes of the test; a scope waits for its threads.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn junk(kid: usize) -> String {
    // So long that it would show if they were kept.
    let token = Token::good().header("kid", format!("junk-{kid}-{:1$}", "", KID_BYTES));
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signature = URL_SAFE_NO_PAD.encode([0x5a; 256]);
    format!("{}.{}.{signature}", part(token.header_text()), part(token.payload_text()))
}

const KIDS: usize = 2000;
const FLOOD_CLIENTS: usize = 32;
const KID_BYTES: usize = 4000;
/// Less than the `kid`s of one flood.
const GROWTH_LIMIT: u64 = 6 * 1024 * 1024;
const FLOOD_LIMIT: Duration = Duration::from_secs(10);
