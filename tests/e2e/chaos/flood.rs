//! Tokens with made-up `kid`s, thousands of them: anybody can make them, for they need no signature.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::UNDISTURBED;
use crate::harness::config::Config;
use crate::harness::connection::Connection;
use crate::harness::http::Request;
use crate::harness::issuer::Answer;
use crate::harness::sidecar::Sidecar;
use crate::harness::token::{Key, Token};
use crate::harness::traffic::Traffic;
use crate::harness::wait;

#[test]
fn of_junk_kids_is_harmless_on_one_worker() {
    assert_flood_is_harmless(1);
}

#[test]
fn of_junk_kids_is_harmless_on_four_workers() {
    assert_flood_is_harmless(4);
}

/// The flood spends the ration of searches, so a new key may have to wait for the next one; the
/// known one goes on.
#[test]
fn of_junk_kids_keeps_a_new_key_out_for_one_cooldown_at_most() {
    let config = Config::new().provider("refetchCooldown", "2s");
    let sidecar = Sidecar::start_with(&config, Answer::Keys(vec![Key::alpha().jwk()]), 4);
    let traffic = Traffic::start(sidecar.address(), &[Token::good()]);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stopped);
        for client in 0..FLOOD_CLIENTS {
            let kids = (client..).step_by(FLOOD_CLIENTS);
            let kids = kids.take_while(|_| !stopped.load(Ordering::SeqCst));
            scope.spawn(|| refuse_each(sidecar.address(), kids));
        }
        wait::until("the flood has spent its first ration", FLOOD_LIMIT, || {
            (sidecar.issuer.fetches().len() > 3).then_some(())
        });

        let keys = [Key::alpha(), Key::beta()].map(Key::jwk);
        sidecar.issuer.answer(Answer::Keys(keys.into()));

        let new = Request::get("/").bearer(&Token::good().signed_by(Key::beta()).compact());
        wait::until("every worker knows the new key", NEW_KEY_LIMIT, || {
            (0..20).all(|_| sidecar.send(&new).status == 200).then_some(())
        });
    });
    traffic.assert_undisturbed(UNDISTURBED);
}

fn assert_flood_is_harmless(workers: u32) {
    // Longer than the test, so that one ration has to do.
    let config = Config::new().provider("refetchCooldown", "1m");
    let sidecar = Sidecar::start_with(&config, Answer::Keys(vec![Key::alpha().jwk()]), workers);
    let traffic = Traffic::start(sidecar.address(), &[Token::good()]);
    traffic.flow(20);
    let fetches = sidecar.issuer.fetches().len();

    flood(sidecar.address(), 0..KIDS);
    let after_one = sidecar.resident_bytes();
    flood(sidecar.address(), KIDS..2 * KIDS);
    let after_two = sidecar.resident_bytes();

    let caused = sidecar.issuer.fetches().len() - fetches;
    assert!((1..=3).contains(&caused), "{caused} fetches");
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
        let response = connection.get(&junk(kid)).expect("an answer in time");
        assert_eq!(response.json()["code"], "key_unknown");
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

const KIDS: usize = 5000;
const FLOOD_CLIENTS: usize = 8;
const KID_BYTES: usize = 2000;
/// Less than the `kid`s of one flood.
const GROWTH_LIMIT: u64 = 6 * 1024 * 1024;
/// Two cooldowns are enough for the first ration.
const FLOOD_LIMIT: Duration = Duration::from_secs(4);
/// One cooldown, and the time for a busy machine to notice.
const NEW_KEY_LIMIT: Duration = Duration::from_secs(4);
