//! Pods behind a real balancer change their keys, and no good request may be refused for it.
//!
//! `make test` runs the short form: a few of each, and the first scenario with a refusal fails. The
//! long form measures: it prints a row of a Markdown table for each scenario, and fails at the end.
//!
//! ```sh
//! ROTATIONS=200 cargo test --locked --test e2e rotations -- --nocapture --test-threads=1
//! ```
//!
//! | variable | what it sets | default |
//! |---|---|---|
//! | `ROTATIONS` | how often each scenario is repeated; junk, which takes half a minute, once in 50 | short form |
//! | `ROTATIONS_PODS` | numbers of pods, but not beside junk, where the row says it | `2,3` |
//! | `ROTATIONS_WORKERS` | numbers of workers | `2`, beside junk `1,2` |
//! | `ROTATIONS_KIDS` | `own`, `shared`, `none`; not beside junk | `own,shared` |
//! | `ROTATIONS_CRYPTO` | `host`, `wasm` | `host` |
//! | `ROTATIONS_JUNK_BALANCERS` | `random`, `least_request`, `round_robin` beside junk | `random` |
//! | `ROTATIONS_GAP` | seconds between the restarts of a rolling one | `1.5` |
//! | `ROTATIONS_PAUSE` | seconds after each restart of one | `3` |
//!
//! Lists are separated by commas, and every combination is a row. The names of the tests choose the
//! scenario and elsewhere the balancer: `rotations::rolling`, `behind_least_request`. Most of the time
//! is spent waiting, so several tests may run at once (`--test-threads=3`).

mod cold_start;
mod form;
mod junk;
mod load;
mod mesh;
mod restart;
mod rolling;
mod setup;
mod shared_key;
mod tally;
