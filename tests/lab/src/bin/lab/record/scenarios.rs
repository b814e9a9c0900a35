//! What is recorded. Minutes are those of the series.

use anyhow::Result;
use lab::token::Key;

use super::stage::Stage;
use super::traffic::Kind;

pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What each pod of the issuer publishes at first.
    pub(super) pods: fn() -> Vec<Vec<&'static Key>>,
    pub(super) mode: &'static str,
    /// `maxPausedRequests`.
    pub(super) places: u32,
    /// Whether the module is one that requests can make trap.
    pub(super) has_fault: bool,
    pub(super) traffic: &'static [Kind],
    pub(super) play: fn(&mut Stage) -> Result<()>,
}

pub(super) const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "quiet", ..ONE_POD },
    Scenario {
        name: "incident",
        pods: || vec![vec![Key::alpha()], vec![Key::beta()]],
        traffic: &[GOOD, GOOD_OF_BETA],
        play: |stage| stage.run_until(45),
        ..ONE_POD
    },
    Scenario {
        name: "rotation",
        pods: || vec![vec![Key::alpha()], vec![Key::alpha()]],
        play: rotation,
        ..ONE_POD
    },
    Scenario { name: "outage", play: outage, ..ONE_POD },
    Scenario { name: "attack", places: 20, play: attack, ..ONE_POD },
    Scenario { name: "crash", has_fault: true, play: crashes, ..ONE_POD },
    Scenario { name: "rollout", mode: "report", traffic: BEFORE_ROLLOUT, ..ONE_POD },
];

const ONE_POD: Scenario = Scenario {
    name: "",
    pods: || vec![vec![Key::alpha()]],
    mode: "enforce",
    places: 1000,
    has_fault: false,
    traffic: USUAL,
    play: |stage| stage.run_until(30),
};

/// Some tokens are always too old, and some clients have none.
const USUAL: &[Kind] = &[GOOD, GOOD, GOOD, GOOD, Kind::Expired, GOOD, GOOD, GOOD, Kind::Missing];
/// Nobody was refused yet, so many have not noticed.
const BEFORE_ROLLOUT: &[Kind] = &[GOOD, Kind::Expired, Kind::Missing];
const GOOD: Kind = Kind::Good(Key::alpha);
const GOOD_OF_BETA: Kind = Kind::Good(Key::beta);
const GOOD_OF_GAMMA: Kind = Kind::Good(Key::gamma);

/// First as it should be, but slowly, one pod ten minutes after the other; then a key that signs at
/// once.
fn rotation(stage: &mut Stage) -> Result<()> {
    stage.run_until(5)?;
    stage.publish(0, &[Key::alpha(), Key::beta()]);
    stage.run_until(15)?;
    stage.publish(1, &[Key::alpha(), Key::beta()]);
    stage.run_until(20)?;
    stage.switch_to(&[GOOD_OF_BETA]);
    stage.run_until(46)?;
    stage.publish(0, &[Key::beta()]);
    stage.run_until(56)?;
    stage.publish(1, &[Key::beta()]);
    stage.run_until(62)?;
    stage.publish(0, &[Key::gamma()]);
    stage.publish(1, &[Key::gamma()]);
    stage.switch_to(&[GOOD_OF_GAMMA]);
    stage.run_until(80)
}

/// Longer than keys are trusted.
fn outage(stage: &mut Stage) -> Result<()> {
    stage.run_until(5)?;
    stage.fail();
    stage.run_until(85)?;
    stage.publish(0, &[Key::alpha()]);
    stage.run_until(105)
}

/// First fewer forgers than there are places for requests that wait, then more.
fn attack(stage: &mut Stage) -> Result<()> {
    let forged = [Kind::Junk, Kind::Junk, Kind::Tampered];
    stage.run_until(5)?;
    stage.attack(12, &forged);
    stage.run_until(20)?;
    stage.attack(50, &forged);
    stage.run_until(40)?;
    stage.end_attack();
    stage.run_until(55)
}

/// Once, and later again and again.
fn crashes(stage: &mut Stage) -> Result<()> {
    stage.run_until(5)?;
    stage.send(Kind::Crash)?;
    stage.run_until(20)?;
    stage.attack(1, &[Kind::Crash]);
    stage.run_until(25)?;
    stage.end_attack();
    stage.run_until(40)
}
