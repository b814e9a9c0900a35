//! What more rules, providers, keys and longer tokens cost: each point is mesh-jwt with one thing
//! enlarged, and compared with mesh-jwt as it is.

use anyhow::Result;
use serde_json::{Value, json};

use super::Mode;
use super::load::Load;
use super::systems::{self, MESH_JWT, PLAIN, System};
use super::tokens::{self, PATH, SMALL, Tokens};

/// mesh-jwt with one thing enlarged.
pub(super) struct Point {
    pub(super) dimension: &'static str,
    pub(super) size: usize,
    /// Of the loads.
    pub(super) kinds: &'static [&'static str],
    pub(super) system: System,
    path: String,
    pub(super) token_bytes: usize,
    headers: usize,
}

impl Point {
    fn new(
        dimension: &'static str,
        size: usize,
        kinds: &'static [&'static str],
        filter: Value,
    ) -> Self {
        let system = System::new(format!("{dimension} {size}"), filter);
        let (path, token_bytes) = (PATH.to_owned(), SMALL);
        Self { dimension, size, kinds, system, path, token_bytes, headers: 0 }
    }

    fn load(&self, kind: &str, tokens: &Tokens) -> Load {
        let load = tokens.good(kind, self.token_bytes, &self.path);
        Load { name: self.load_name(kind), headers: self.headers, ..load }
    }

    /// Those that differ cost another sum without any check.
    pub(super) fn load_name(&self, kind: &str) -> String {
        let name = tokens::load_name(kind, self.token_bytes);
        if self.headers == 0 { name } else { format!("{name}, {} headers more", self.headers) }
    }
}

pub(super) fn points(mode: Mode) -> Result<Vec<Point>> {
    let rules = chosen(&RULES, mode).iter().map(|count| rules(*count));
    let providers = chosen(&PROVIDERS, mode).iter().map(|count| providers(*count));
    let keys = chosen(&KEYS, mode).iter().map(|count| keys(*count));
    let tokens = chosen(&TOKEN_BYTES, mode).iter().map(|bytes| longer_token(*bytes));
    let headers = chosen(&HEADERS, mode).iter().map(|count| headers(*count));
    rules.chain(providers).chain(keys).chain(headers).chain(tokens).collect()
}

/// Of all tokens that are sent.
pub(super) fn token_sizes(mode: Mode) -> Vec<usize> {
    [&[SMALL], chosen(&TOKEN_BYTES, mode)].concat()
}

/// The short mode takes the last of each.
fn chosen(sizes: &[usize], mode: Mode) -> &[usize] {
    match (mode, sizes) {
        (Mode::Short, [.., _]) => sizes.get(sizes.len() - 1..).unwrap_or(sizes),
        _ => sizes,
    }
}

fn rules(count: usize) -> Result<Point> {
    let filter = systems::mesh_jwt(&[systems::provider(1)], count, json!({}))?;
    let path = format!("/service-{count}/orders");
    Ok(Point { path, ..Point::new("rules", count, &["hot"], filter) })
}

/// The token is of the last.
fn providers(count: usize) -> Result<Point> {
    let other = |number| {
        let issuer = format!("https://issuer-{number}.example.com");
        systems::provider_named(&format!("provider-{number}"), &issuer, 1)
    };
    let mut providers: Vec<_> = (1..count).map(other).collect();
    providers.push(systems::provider(1));
    let filter = systems::mesh_jwt(&providers, 1, json!({}))?;
    Ok(Point::new("providers", count, &["hot"], filter))
}

fn keys(count: usize) -> Result<Point> {
    let filter = systems::mesh_jwt(&[systems::provider(count)], 1, json!({}))?;
    Ok(Point::new("keys", count, &["cold"], filter))
}

fn headers(count: usize) -> Result<Point> {
    let filter = systems::mesh_jwt(&[systems::provider(1)], 1, json!({}))?;
    Ok(Point { headers: count, ..Point::new("headers more", count, &["hot"], filter) })
}

fn longer_token(bytes: usize) -> Result<Point> {
    let options = json!({ "maxTokenBytes": 2 * bytes });
    let filter = systems::mesh_jwt(&[systems::provider(1)], 1, options)?;
    Ok(Point { token_bytes: bytes, ..Point::new("bytes a token", bytes, &["hot", "cold"], filter) })
}

/// Systems and loads. No check at all comes first with every load, to be subtracted, and every baseline
/// before what is compared with it.
pub(super) fn runs(points: &[Point], tokens: &Tokens) -> Vec<(String, Load)> {
    let mut runs = Vec::new();
    for kind in ["hot", "cold"] {
        let small = tokens.good(kind, SMALL, PATH);
        runs.push((PLAIN.to_owned(), small.clone()));
        runs.push((MESH_JWT.to_owned(), small));
        for point in points.iter().filter(|point| point.kinds.contains(&kind)) {
            let load = point.load(kind, tokens);
            if load.name != kind {
                runs.push((PLAIN.to_owned(), load.clone()));
            }
            runs.push((point.system.name.clone(), load));
        }
    }
    runs
}

const RULES: [usize; 3] = [10, 100, 1000];
const PROVIDERS: [usize; 2] = [10, 100];
const KEYS: [usize; 2] = [10, 50];
const HEADERS: [usize; 2] = [10, 50];
const TOKEN_BYTES: [usize; 2] = [2048, 8192];
