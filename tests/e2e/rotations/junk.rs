//! A pod restarts with a new key while somebody sends tokens that nobody has signed.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::form;
use super::load::{Pace, send, sleep_until};
use super::mesh::{Mesh, NEIGHBOUR};
use super::setup::{Kids, Setup, fresh};
use super::tally::Tally;
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token};

/// Row a.
#[test]
fn under_a_shared_kid_now_and_then_costs_no_request_of_two_pods() {
    let pace = Pace::one_in(Duration::from_secs(5));
    run(&Row { name: "junk a", pods: 2, kids: Kids::Shared, junk: Junk::BadSignature, pace });
}

/// Row b.
#[test]
fn under_a_shared_kid_now_and_then_costs_no_request_of_one_pod() {
    let pace = Pace::one_in(Duration::from_secs(4));
    run(&Row { name: "junk b", pods: 1, kids: Kids::Shared, junk: Junk::BadSignature, pace });
}

/// Row c.
#[test]
fn of_another_kid_each_second_costs_no_request_of_two_pods() {
    let pace = Pace::a_second(1);
    run(&Row { name: "junk c", pods: 2, kids: Kids::Own, junk: Junk::UnknownKid, pace });
}

/// Row d.
#[test]
fn that_floods_the_kid_to_come_costs_no_request() {
    let pace = Pace::a_second(150);
    run(&Row { name: "junk d", pods: 1, kids: Kids::Own, junk: Junk::BadSignature, pace });
}

/// Row e.
#[test]
fn of_many_kids_costs_no_request() {
    let pace = Pace::a_second(40);
    run(&Row { name: "junk e", pods: 1, kids: Kids::Own, junk: Junk::UnknownKid, pace });
}

/// Row f.
#[test]
fn that_waits_for_another_issuer_costs_no_request() {
    let pace = Pace { burst: 900, every: Duration::from_secs(6) };
    run(&Row { name: "junk f", pods: 1, kids: Kids::Own, junk: Junk::OfNeighbour, pace });
}

struct Row {
    name: &'static str,
    pods: usize,
    kids: Kids,
    junk: Junk,
    pace: Pace,
}

#[derive(Clone, Copy)]
enum Junk {
    /// Names the key that the pod is going to restart with.
    BadSignature,
    /// Of another provider, whose issuer hangs.
    OfNeighbour,
    /// Each names another.
    UnknownKid,
}

fn run(row: &Row) {
    let repetitions = form::repetitions().map_or(1, |all| all.div_ceil(ROTATIONS_PER_REPETITION));
    form::run(row.name, form::setups_beside_junk(row.pods, row.kids), |setup| {
        let mut tally = Tally::default();
        for _ in 0..repetitions {
            let before = form::either(SHORT_BEFORE, row.junk.before(tally.rotations));
            tally = observe(row, setup, before, tally);
        }
        tally
    });
}

fn observe(row: &Row, setup: &Setup, before: Duration, mut tally: Tally) -> Tally {
    let (old, new) = Key::pods().split_at(setup.pods);
    let (old, new): (Vec<_>, _) = (old.iter().collect(), &new[0]);
    // Outlives Envoy, which waits for it.
    let neighbour = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let mesh = match row.junk {
        Junk::OfNeighbour => Mesh::start_beside(&neighbour, setup, &old),
        Junk::BadSignature | Junk::UnknownKid => Mesh::start(setup, &old),
    };
    if matches!(row.junk, Junk::OfNeighbour) {
        let known = Token::good().claim("iss", NEIGHBOUR);
        assert!(send(mesh.address(), &known.compact()).is_ok(), "the neighbour's key is unknown");
        neighbour.answer(Answer::Hang);
    }
    mesh.warm_up(&old);

    let start = Instant::now();
    let rotation = start + before;
    let end = rotation + form::either(SHORT_AFTER, LONG_AFTER);
    tally.rotations += 1;
    let shared = Mutex::new(tally);
    let tally = || shared.lock().expect("nobody panics with the lock held");
    let send_good = |key: &'static Key| {
        let answer = send(mesh.address(), &setup.token(key).compact());
        tally().good(key, &answer, rotation);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            row.pace.keep(start..end, |number| {
                let answer = send(mesh.address(), &row.junk.token(setup, new, number));
                tally().junk(&answer);
            });
        });
        scope.spawn(|| OLD_PACE.keep(start..end, |number| send_good(old[number % old.len()])));
        sleep_until(rotation);
        mesh.restart(0, new);
        NEW_PACE.keep(rotation..end, |_| send_good(new));
    });
    tally().fetches_of(&mesh, start);
    shared.into_inner().expect("nobody panics with the lock held")
}

impl Junk {
    /// How long it goes on before the rotation in the long form. What the filter rations, it rations
    /// by the `refetchCooldown`, so the rotations come at various times of one: the first when junk
    /// has just had its share.
    fn before(self, repetition: usize) -> Duration {
        let step = u32::try_from(repetition).expect("not many");
        let moment = (PHASE_STEP * step).as_millis() % COOLDOWN.as_millis();
        let moment = Duration::from_millis(moment.try_into().expect("not long"));
        match self {
            Self::BadSignature | Self::UnknownKid => COOLDOWN + FIRST_PHASE + moment,
            // The second wave has just come.
            Self::OfNeighbour => Duration::from_secs(7),
        }
    }

    /// Different ones, signed by nobody.
    fn token(self, setup: &Setup, new: &'static Key, number: usize) -> String {
        let token = match self {
            Self::BadSignature => setup.token(new),
            Self::OfNeighbour => unknown_kid(number).claim("iss", NEIGHBOUR),
            Self::UnknownKid => unknown_kid(number),
        };
        token.compact_with(|_| vec![0x5a; SIGNATURE_BYTES])
    }
}

fn unknown_kid(number: usize) -> Token {
    fresh(Token::good()).header("kid", format!("junk-{number}"))
}

const SIGNATURE_BYTES: usize = 256;

/// Tokens of the keys that were known before: a few.
const OLD_PACE: Pace = Pace::a_second(2);
const NEW_PACE: Pace = Pace::a_second(10);

const ROTATIONS_PER_REPETITION: usize = 50;
const SHORT_BEFORE: Duration = Duration::from_secs(6);
const SHORT_AFTER: Duration = Duration::from_secs(5);
const LONG_AFTER: Duration = Duration::from_secs(22);
/// The default.
const COOLDOWN: Duration = Duration::from_secs(10);
const FIRST_PHASE: Duration = Duration::from_millis(500);
const PHASE_STEP: Duration = Duration::from_millis(3100);
