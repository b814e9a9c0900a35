//! Carries out what the engine asks for, in the order that its contract names.

use super::headers::Headers;
use super::{crypto, host};
use crate::config::{Config, HostCrypto, Provider};
use crate::engine::{Disposition, Engine, Fetch, MAX_TIMEOUT, StreamId};
use crate::event::Level;
use crate::jose::{Crypto, MAX_JWKS_BYTES};
use crate::jwks::{Consultation, FetchError, JwksResponse};
use crate::metrics::{JwksMetric, Metric};
use crate::reply::LocalReply;
use crate::request::RequestHead;
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use crate::verdict::{PassReason, Verdict};
use log::{debug, error, info, warn};
use proxy_wasm::types::{Action, MapType};
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// An engine and what the host knows its parts by.
pub(super) struct Driver {
    engine: Engine,
    /// The calls in flight, by the tokens that the host gave; there are few.
    calls: Vec<(u32, Fetch)>,
    /// The fetches that another VM is carrying out, with what was read of the shared data and when.
    waiting: Vec<(Fetch, u32, Timestamp)>,
    /// The requests that were paused and then refused, until they are closed.
    refused: BTreeSet<StreamId>,
    /// The names in the shared data, by provider.
    shared_keys: Vec<String>,
    /// The ids that the host gave.
    metrics: SortedMap<Metric, u32>,
    /// The gauges as they were last reported.
    reported_paused: usize,
    reported_keys: Vec<usize>,
}

impl Driver {
    pub(super) fn new(config: Config, now: Timestamp) -> Self {
        let mut metrics = SortedMap::new();
        for metric in Metric::all(&config) {
            match host::define_metric(metric.is_gauge(), &metric.name(&config)) {
                Ok(id) => _ = metrics.insert(metric, id),
                Err(status) => error!("mesh-jwt: the host refused a metric: {status:?}"),
            }
        }
        let reported_keys = vec![0; config.providers.len()];
        let shared_keys = config.providers.iter().map(shared_key).collect();
        let crypto = match config.host_crypto {
            HostCrypto::Auto => crypto::probe().map_or(Crypto::Module, Crypto::Host),
            HostCrypto::Off => Crypto::Module,
        };
        // Workers start at the same moment; each is to choose moments of its own.
        let seed = RandomState::new().hash_one(());
        let mut driver = Self {
            engine: Engine::new(config, crypto, seed, now),
            calls: Vec::new(),
            waiting: Vec::new(),
            refused: BTreeSet::new(),
            shared_keys,
            metrics,
            reported_paused: 0,
            reported_keys,
        };
        driver.arm_timer(now);
        driver
    }

    pub(super) fn handle_request(
        &mut self,
        stream: StreamId,
        request: &RequestHead<'_>,
        now: Timestamp,
    ) -> Disposition {
        let disposition = self.engine.handle_request(stream, request, now);
        self.report_events();
        if matches!(disposition, Disposition::Paused) {
            self.report_gauges(now);
            // Only the root context may dispatch; the timer wakes it.
            self.arm_timer(now);
        }
        disposition
    }

    /// Whether the request waits for a verdict, or the verdict was to refuse it.
    pub(super) fn holds(&self, stream: StreamId) -> bool {
        self.engine.is_paused(stream) || self.refused.contains(&stream)
    }

    /// Removes from the trailers what only the filter may say.
    pub(super) fn strip_trailers(&self) {
        let trailers = Headers::read(MapType::HttpRequestTrailers);
        let Some(head) = trailers.as_ref().and_then(Headers::head) else {
            error!("mesh-jwt: there are no request trailers that can be read");
            return;
        };
        let edits = self.engine.strip_trailers(&head);
        if let Err(status) = host::apply(MapType::HttpRequestTrailers, &edits) {
            error!("mesh-jwt: the host refused to edit trailers: {status:?}");
        }
    }

    pub(super) fn handle_stream_closed(&mut self, stream: StreamId) {
        self.engine.handle_stream_closed(stream);
        self.refused.remove(&stream);
        self.report_gauges(host::now());
    }

    pub(super) fn handle_tick(&mut self, now: Timestamp) {
        self.engine.handle_timeout(now);
        self.drain(now);
    }

    pub(super) fn handle_call_response(
        &mut self,
        token: u32,
        headers: usize,
        body_size: usize,
        now: Timestamp,
    ) {
        if let Some(call) = self.calls.iter().position(|(in_flight, _)| *in_flight == token) {
            let (_, fetch) = self.calls.swap_remove(call);
            let response = read_response(headers, body_size);
            let response = response.as_ref().map(OwnedResponse::as_response);
            self.finish(&fetch, response.map_err(Clone::clone), now);
        }
        self.drain(now);
    }

    /// Carries out a verdict on the selected stream, whose head is still held.
    pub(super) fn settle(&mut self, verdict: &Verdict) -> Action {
        self.report_verdict(verdict);
        let edits = match verdict {
            Verdict::Allow(allow) => &allow.edits,
            Verdict::Pass(pass) => &pass.edits,
            Verdict::Deny(denial) => {
                send(&denial.reply);
                return Action::Pause;
            }
        };
        match host::apply(MapType::HttpRequestHeaders, edits) {
            Ok(()) => Action::Continue,
            Err(status) => {
                error!("mesh-jwt: the host refused to edit headers: {status:?}");
                send(&LocalReply::host_failure());
                Action::Pause
            }
        }
    }

    /// Carries out everything that an input has made due; the root context is the one that calls.
    fn drain(&mut self, now: Timestamp) {
        for (fetch, version, since) in std::mem::take(&mut self.waiting) {
            // A lease that runs out changes nothing in the data.
            let is_due = now.saturating_since(since) >= LEASE_POLL || now < since;
            if is_due || self.shared_version(&fetch) != version {
                self.begin(fetch, now);
            } else {
                self.waiting.push((fetch, version, since));
            }
        }
        while let Some(fetch) = self.engine.poll_fetch(now) {
            self.begin(fetch, now);
        }
        self.look_for_news(now);
        while let Some((stream, verdict)) = self.engine.poll_verdict() {
            if host::select_stream(stream.0).is_err() {
                debug!("mesh-jwt: a paused request is gone");
                continue;
            }
            if self.settle(&verdict) != Action::Continue {
                self.refused.insert(stream);
            } else if let Err(status) = host::resume_request() {
                error!("mesh-jwt: the host refused to resume a request: {status:?}");
            }
        }
        self.report_events();
        self.report_gauges(now);
        self.arm_timer(now);
    }

    /// While a provider has no keys and backs off, another VM may have better luck.
    fn look_for_news(&mut self, now: Timestamp) {
        let lacking: Vec<_> = self.engine.lacking_keys(now).collect();
        for provider in lacking {
            let Some(shared_key) = self.shared_keys.get(provider) else { continue };
            if let (Some(shared), _) = host::shared_data(shared_key) {
                self.engine.handle_news(provider, &shared, now);
            }
        }
    }

    /// Carries out a fetch, unless another VM does or has done so.
    fn begin(&mut self, fetch: Fetch, now: Timestamp) {
        let shared_key = self.shared_keys.get(fetch.provider).map_or("", String::as_str);
        for _ in 0..MAX_CONTENTION {
            let (shared, version) = host::shared_data(shared_key);
            match self.engine.handle_shared(&fetch, shared.as_deref(), now) {
                Consultation::Answered => return,
                Consultation::Busy => return self.waiting.push((fetch, version, now)),
                Consultation::Lead(lease) => {
                    // Each time that this fails, another VM has made progress.
                    if host::set_shared_data(shared_key, &lease, version).is_ok() {
                        break;
                    }
                }
            }
        }
        match host::dispatch(&fetch.jwks) {
            Ok(token) => self.calls.push((token, fetch)),
            Err(error) => self.finish(&fetch, Err(error), now),
        }
    }

    fn shared_version(&self, fetch: &Fetch) -> u32 {
        self.shared_keys.get(fetch.provider).map_or(0, |key| host::shared_data(key).1)
    }

    /// Hands over a response, and tells the other VMs.
    fn finish(
        &mut self,
        fetch: &Fetch,
        response: Result<JwksResponse<'_>, FetchError>,
        now: Timestamp,
    ) {
        self.engine.handle_response(fetch.id, response, now);
        let Some(shared_key) = self.shared_keys.get(fetch.provider) else { return };
        for _ in 0..MAX_CONTENTION {
            let (shared, version) = host::shared_data(shared_key);
            let Some(news) = self.engine.publication(fetch.provider, shared.as_deref(), now) else {
                return;
            };
            if host::set_shared_data(shared_key, &news, version).is_ok() {
                return;
            }
        }
    }

    fn arm_timer(&mut self, now: Timestamp) {
        let next = self.engine.poll_timeout().map(|(at, _)| at.saturating_since(now));
        let look_in = if !self.waiting.is_empty() {
            Some(SHARED_DATA_POLL)
        } else if self.engine.lacking_keys(now).next().is_some() {
            Some(NEWS_POLL)
        } else {
            None
        };
        host::set_timer(next.into_iter().chain(look_in).fold(MAX_TIMEOUT, Duration::min));
    }

    fn report_verdict(&self, verdict: &Verdict) {
        self.add(Metric::of_verdict(verdict), 1);
        let config = self.engine.config();
        let provider = verdict.provider().and_then(|index| config.providers.get(index));
        let provider = provider.map(|provider| provider.name.as_str());
        let code = verdict.code();
        let mut state = host::set_filter_state(CODE_STATE, code);
        if let Some(provider) = provider {
            state = state.and_then(|()| host::set_filter_state(PROVIDER_STATE, provider));
        }
        if let Err(status) = state {
            error!("mesh-jwt: the host refused filter state: {status:?}");
        }
        let provider = provider.unwrap_or("-");
        match verdict {
            Verdict::Deny(_) => debug!("mesh-jwt: denied code={code} provider={provider}"),
            Verdict::Pass(pass) if matches!(pass.why, PassReason::Reported { .. }) => {
                info!("mesh-jwt: would be denied code={code} provider={provider}");
            }
            Verdict::Allow(_) | Verdict::Pass(_) => {}
        }
    }

    fn report_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            if let Some(metric) = Metric::of_event(&event) {
                self.add(metric, 1);
            }
            match event.log_line(self.engine.config()) {
                Some((Level::Debug, line)) => debug!("mesh-jwt: {line}"),
                Some((Level::Info, line)) => info!("mesh-jwt: {line}"),
                Some((Level::Warn, line)) => warn!("mesh-jwt: {line}"),
                None => {}
            }
        }
    }

    /// Workers share gauges: each adds its own share of the paused requests, while all of them
    /// hold the same keys.
    fn report_gauges(&mut self, now: Timestamp) {
        let paused = self.engine.paused();
        if paused != self.reported_paused {
            let (is, was) = (i64::try_from(paused), i64::try_from(self.reported_paused));
            self.add(Metric::Paused, is.unwrap_or(0).saturating_sub(was.unwrap_or(0)));
            self.reported_paused = paused;
        }
        for (provider, reported) in self.reported_keys.iter_mut().enumerate() {
            let keys = self.engine.trusted_keys(provider, now);
            if keys != *reported
                && let Some(id) = self.metrics.get(&Metric::Jwks(provider, JwksMetric::Keys))
                && host::record_metric(*id, u64::try_from(keys).unwrap_or(u64::MAX)).is_ok()
            {
                *reported = keys;
            }
        }
    }

    fn add(&self, metric: Metric, offset: i64) {
        if let Some(id) = self.metrics.get(&metric)
            && let Err(status) = host::increment_metric(*id, offset)
        {
            error!("mesh-jwt: the host refused to count: {status:?}");
        }
    }
}

struct OwnedResponse {
    status: u16,
    cache_control: Option<String>,
    body: Vec<u8>,
}

impl OwnedResponse {
    fn as_response(&self) -> JwksResponse<'_> {
        JwksResponse {
            status: self.status,
            body: &self.body,
            cache_control: self.cache_control.as_deref(),
        }
    }
}

/// Reads the response to the call whose callback is running.
fn read_response(headers: usize, body_size: usize) -> Result<OwnedResponse, FetchError> {
    // The host reports a reset as a response without headers.
    if headers == 0 {
        return Err(FetchError::Reset);
    }
    let headers = Headers::read(MapType::HttpCallResponseHeaders).ok_or(FetchError::Reset)?;
    let head = headers.head().ok_or(FetchError::Reset)?;
    let text = |name: &str| str::from_utf8(head.values(name).next()?).ok();
    let status = text(":status").and_then(|status| status.parse().ok());
    if body_size > MAX_JWKS_BYTES {
        return Err(FetchError::too_large(body_size));
    }
    Ok(OwnedResponse {
        status: status.ok_or(FetchError::Reset)?,
        cache_control: text("cache-control").map(str::to_owned),
        body: host::call_response_body(body_size).map_err(|_| FetchError::Reset)?,
    })
}

/// The name of a provider's keys in the shared data, which all plugins of the proxy share.
///
/// Whoever fetches the same document shares its keys, whatever else the configurations say.
fn shared_key(provider: &Provider) -> String {
    provider.remote_jwks().map_or_else(String::new, |jwks| {
        format!("mesh_jwt.v1 {} {}://{}{}", jwks.cluster, jwks.scheme, jwks.authority, jwks.path)
    })
}

/// Answers the selected stream.
pub(super) fn send(reply: &LocalReply) {
    if let Err(status) = host::send(reply) {
        error!("mesh-jwt: the host refused a local reply: {status:?}");
    }
}

const CODE_STATE: &str = "mesh_jwt.code";
const PROVIDER_STATE: &str = "mesh_jwt.provider";
/// How often a write to the shared data is tried; it fails only when another VM was faster.
const MAX_CONTENTION: u32 = 100;
/// How often a VM without keys looks whether another one has got some.
const NEWS_POLL: Duration = Duration::from_millis(500);
/// How often it looks whether the other one has died.
const LEASE_POLL: Duration = Duration::from_millis(500);
/// How often a VM looks whether another one has finished its fetch.
const SHARED_DATA_POLL: Duration = Duration::from_millis(10);
