//! Requests that come before the keys.

use crate::sim::{Sim, config, token};
use crate::token::Key;
use mesh_jwt::jwks::FetchError;
use mesh_jwt::verdict::Verdict;
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sim() -> Sim {
    Sim::new(&config(json!({}), json!({})))
}

#[test]
fn requests_wait_for_one_shared_fetch() {
    let mut sim = sim();
    let (good, unknown) = (token().compact(), token().signed_by(Key::beta()).compact());

    for stream in 1..=20 {
        assert!(sim.send_token(stream, if stream == 20 { &unknown } else { &good }).is_none());
    }
    assert_eq!((sim.world.fetched_at.len(), sim.engine().paused()), (1, 20));
    sim.publish(&[Key::alpha()]);
    sim.wait(Duration::from_millis(2));

    for stream in 1..20 {
        assert_eq!(sim.verdict(stream), "allowed");
    }
    assert_eq!(sim.decide(&good), "allowed");
    assert_eq!(sim.engine().paused(), 1, "the one whose key is looked for");
    assert_eq!(sim.code_of(20, None), "key_unknown");
    assert_eq!(sim.engine().paused(), 0);
}

/// Each that is settled may end within that very call, and enter the VM anew.
#[test]
fn a_crowd_is_settled_in_its_order_a_few_at_a_time() {
    const CROWD: u32 = 5_000;
    for (answer, code) in [(200, "allowed"), (500, "jwks_unavailable")] {
        let top = json!({"maxPausedRequests": CROWD, "jwksWaitTimeout": "3s"});
        let mut sim = Sim::new(&config(json!({}), top));
        let good = token().compact();
        for stream in 0..CROWD {
            assert!(sim.send_token(stream, &good).is_none());
        }

        match answer {
            200 => sim.publish(&[Key::alpha()]),
            status => sim.answer(status, None, ""),
        }
        sim.run(SECOND * 4, Sim::answer_again);

        let settled = sim.world.settled.clone();
        let in_order = settled.iter().map(|(_, stream)| *stream).eq(0..CROWD);
        assert!(in_order && settled.iter().all(|(_, stream)| sim.verdict(*stream) == code));
        let at_once = settled.chunk_by(|(a, _), (b, _)| a == b).map(<[_]>::len).max();
        assert!(at_once <= Some(16), "{at_once:?}");
        let (first, last) = (settled[0].0, settled[CROWD as usize - 1].0);
        assert!(last - first <= Duration::from_millis(u64::from(CROWD) / 16 + 1));
        assert!(last <= SECOND * 3 + Duration::from_millis(u64::from(CROWD) / 16 + 1));
    }
}

#[test]
fn what_needs_no_key_is_decided_without_one() {
    let mut sim = sim();

    assert_eq!(sim.decide("x.y.z"), "token_malformed");
    assert_eq!(sim.decide(&token().claim("exp", 1).compact()), "token_expired");
    assert_eq!(sim.decide(&token().claim("iss", "https://evil").compact()), "issuer_unknown");
}

#[test]
fn every_request_is_answered_in_time_though_nobody_answers_the_fetch() {
    let mut sim = sim();
    for stream in 1..=3 {
        assert!(sim.send_token(stream, &token().compact()).is_none());
        sim.wait(SECOND / 2);
    }

    sim.wait(SECOND);
    assert_eq!(sim.verdict(1), "paused");
    sim.wait(SECOND / 2);
    assert_eq!(sim.verdict(1), "jwks_unavailable");
    sim.wait(SECOND + SECOND / 100);
    assert_eq!((sim.verdict(2), sim.verdict(3)), ("jwks_unavailable", "jwks_unavailable"));
}

#[test]
fn a_fetch_that_is_never_answered_is_given_up_and_its_late_answer_ignored() {
    let mut sim = sim();

    sim.wait(SECOND * 10);
    assert!(sim.world.fetched_at.len() > 1, "{:?}", sim.world.fetched_at);
    sim.publish(&[Key::alpha()]);
    assert!(sim.send_token(1, &token().compact()).is_none());
    let last = sim.world.in_flight.len() - 1;
    sim.world.in_flight.swap(0, last);
    sim.publish(&[Key::alpha()]);

    assert_eq!(sim.verdict(1), "allowed");
}

#[test]
fn an_answer_that_nobody_waits_for_does_not_move_the_next_fetches() {
    let next_fetches = |answers: usize| {
        let mut sim = sim();
        let call = sim.world.in_flight[0];
        sim.publish(&[Key::alpha()]);
        for _ in 1..answers {
            sim.respond_to(call, Err(FetchError::Reset));
        }
        sim.run(SECOND * 3600, |sim| sim.publish(&[Key::alpha()]));
        sim.world.fetched_at
    };

    assert_eq!(next_fetches(1), next_fetches(2));
}

#[test]
fn a_failed_fetch_is_tried_again_while_requests_wait() {
    let mut sim = sim();
    assert!(sim.send_token(1, &token().compact()).is_none());

    sim.fail();
    sim.run(SECOND * 2, |sim| sim.publish(&[Key::alpha()]));

    assert_eq!(sim.verdict(1), "allowed");
}

#[test]
fn nobody_waits_for_an_attempt_that_comes_too_late() {
    let mut sim = Sim::new(&config(json!({}), json!({"jwksWaitTimeout": "200ms"})));

    sim.fail();
    let Some(Verdict::Deny(denial)) = sim.send_token(1, &token().compact()) else {
        panic!("a request that cannot be helped in time is paused");
    };

    assert_eq!(denial.reason.code(), "jwks_unavailable");
    let retry_after = denial.reply.headers.iter().find(|(name, _)| *name == "retry-after");
    assert_eq!(retry_after.map(|(_, value)| value.as_str()), Some("1"));
}

#[test]
fn a_closed_request_gets_no_verdict() {
    let mut sim = sim();
    for stream in 1..=2 {
        assert!(sim.send_token(stream, &token().compact()).is_none());
    }

    sim.close(1);
    sim.publish(&[Key::alpha()]);

    assert_eq!((sim.verdict(1), sim.verdict(2)), ("paused", "allowed"));
}

#[test]
fn only_so_many_requests_may_wait() {
    let mut sim = Sim::new(&config(json!({}), json!({"maxPausedRequests": 2})));
    for stream in 1..=2 {
        assert!(sim.send_token(stream, &token().compact()).is_none());
    }

    assert_eq!(sim.decide(&token().compact()), "overloaded");
    sim.close(1);
    assert!(sim.send_token(3, &token().compact()).is_none());
}

#[test]
fn providers_wait_for_their_own_keys_only() {
    let other = json!({"name": "other", "issuer": "https://other", "jwksUri": "https://other/k"});
    let mut document = config(json!({}), json!({}));
    document["providers"].as_array_mut().unwrap().push(other);
    let mut sim = Sim::new(&document);
    assert!(sim.send_token(1, &token().compact()).is_none());
    let of_other = token().claim("iss", "https://other").compact();
    assert!(sim.send_token(2, &of_other).is_none());

    sim.publish(&[Key::alpha()]);

    assert_eq!((sim.verdict(1), sim.verdict(2)), ("allowed", "paused"));
    sim.publish(&[Key::alpha()]);
    assert_eq!(sim.verdict(2), "allowed");
}

/// Hosts forget a timer that is set again, and each request that waits wants it to run at once.
#[test]
fn requests_that_come_and_go_do_not_put_the_timer_off() {
    let mut sim = sim();
    sim.run(SECOND * 30, |sim| sim.publish(&[Key::alpha()]));
    let unknown = format!("Bearer {}", token().signed_by(Key::beta()).compact());
    let headers = [(":method", "GET"), (":path", "/"), ("authorization", unknown.as_str())];

    assert!(sim.hand_over(0, &headers).is_none());
    for stream in 1..4_000 {
        sim.run(SECOND / 1_100, |sim| sim.publish(&[Key::alpha()]));
        sim.hand_over(stream, &headers);
        if stream > 100 {
            sim.close_quietly(stream - 100);
        }
    }

    assert_eq!(sim.verdict(0), "key_unknown");
}
