//! The proxy as the driver's host: calls, shared data, verdicts, counters and logs.

use super::headers::Headers;
use super::stats::Stats;
use super::{host, withheld};
use crate::config::{Config, FilterStateDetail};
use crate::counters::Counters;
use crate::driver::Host;
use crate::engine::Fetch;
use crate::event::{Event, Level};
use crate::jwks::{FetchError, Written};
use crate::per_provider::PerProvider;
use crate::reply::{LocalReply, Replies};
use crate::request::{HeaderEdit, StreamId};
use crate::sorted_map::SortedMap;
use crate::verdict::{PassReason, Verdict};
use log::{debug, error, info, warn};
use proxy_wasm::types::{Action, MapType};
use std::rc::Rc;
use std::time::Duration;

/// The driver's access to the proxy, and the state it needs for that.
pub(super) struct Proxy {
    stats: Stats,
    names: PerProvider<String>,
    replies: Rc<Replies>,
    /// Whether the host lets the filter tell access logs anything.
    sets_filter_state: bool,
    filter_state: FilterStateDetail,
    /// Whether the host is to choose the routes of requests anew.
    clears_route_cache: bool,
    /// Whether the host offers shared data.
    shares: bool,
    /// The requests that were paused and resumed, until they end. The others that were paused are
    /// held.
    resumed: SortedMap<StreamId, ()>,
}

impl Proxy {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            stats: Stats::define(config),
            names: config.providers.map(|_, provider| provider.name.clone()),
            replies: Rc::clone(&config.replies),
            sets_filter_state: withheld::can_set_properties(),
            filter_state: config.filter_state,
            clears_route_cache: config.clear_route_cache,
            shares: withheld::can_share(),
            resumed: SortedMap::new(),
        }
    }

    pub(super) fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Whether a paused request was resumed.
    pub(super) fn has_resumed(&self, stream: StreamId) -> bool {
        self.resumed.get(&stream).is_some()
    }

    pub(super) fn handle_stream_closed(&mut self, stream: StreamId) {
        self.resumed.remove(&stream);
    }

    /// Carries out a verdict on the selected stream, whose head the host still holds.
    pub(super) fn carry_out(&self, verdict: &Verdict) -> Action {
        self.report_verdict(verdict);
        let applied = match verdict {
            Verdict::Allow(allow) => self.apply(allow.edits()),
            Verdict::Pass(pass) => self.apply(&pass.edits),
            Verdict::Deny(denial) => {
                send(&denial.reply);
                return Action::Pause;
            }
        };
        match applied {
            Action::Continue if self.clears_route_cache => self.choose_route(),
            action => action,
        }
    }

    /// Edits the head of the selected stream, or refuses the request if the host does not allow it.
    pub(super) fn apply<'e>(&self, edits: impl IntoIterator<Item = &'e HeaderEdit>) -> Action {
        match host::apply(HEAD, edits) {
            Ok(()) => Action::Continue,
            Err(status) => {
                error!("mesh-jwt: the host refused to edit headers: status {status}");
                self.refuse();
                Action::Pause
            }
        }
    }

    /// Refuses the selected request, which the filter cannot read or edit: it must not reach the
    /// upstream.
    pub(super) fn refuse(&self) {
        let headers = self.replies.depend_on_requests().then(|| Headers::read(HEAD)).flatten();
        let head = headers.as_ref().and_then(Headers::head);
        send(&self.replies.internal_error(head.as_ref()));
    }

    /// Has the host choose the route of the selected stream anew. If it refuses, so is the request:
    /// the route that was chosen before may be one that a header of the client's asked for.
    fn choose_route(&self) -> Action {
        match host::choose_route() {
            Ok(()) => Action::Continue,
            Err(status) => {
                error!("mesh-jwt: the host refused to choose a route anew: status {status}");
                self.refuse();
                Action::Pause
            }
        }
    }

    fn report_verdict(&self, verdict: &Verdict) {
        let provider = verdict.provider().map(|provider| self.names[provider].as_str());
        let code = verdict.code();
        if self.sets_filter_state
            && let Err(status) = self.tell_access_log(verdict, code, provider)
        {
            error!("mesh-jwt: the host refused filter state: status {status}");
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

    fn tell_access_log(
        &self,
        verdict: &Verdict,
        code: &str,
        provider: Option<&str>,
    ) -> Result<(), u32> {
        let (tells_code, tells_provider) = match self.filter_state {
            FilterStateDetail::Full => (true, true),
            FilterStateDetail::Code => (true, false),
            FilterStateDetail::None => (false, false),
        };
        if tells_code {
            host::set_filter_state(CODE_STATE, code)?;
        }
        if let Some(provider) = provider.filter(|_| tells_provider) {
            host::set_filter_state(PROVIDER_STATE, provider)?;
        }
        let Verdict::Allow(allow) = verdict else { return Ok(()) };
        let mut told = allow.filter_state().iter();
        told.try_for_each(|state| host::set_filter_state(&state.property, &state.value))
    }
}

impl Host for Proxy {
    fn dispatch(&mut self, fetch: &Fetch) -> Result<u32, FetchError> {
        host::dispatch(fetch)
    }

    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32) {
        if self.shares { host::shared_data(name) } else { (None, 0) }
    }

    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written {
        if !self.shares {
            return Written::Unavailable;
        }
        let written = host::set_shared_data(name, bytes, version);
        if written == Written::Unavailable {
            warn!("mesh-jwt: the host refused shared data: each worker fetches keys of its own");
            self.shares = false;
        }
        written
    }

    fn settle(&mut self, stream: StreamId, verdict: &Verdict) {
        if let Err(status) = host::select_stream(stream.0) {
            error!("mesh-jwt: the host does not find a paused request: status {status}");
            return;
        }
        if self.carry_out(verdict) != Action::Continue {
            return;
        }
        match host::resume_request() {
            Ok(()) => _ = self.resumed.insert(stream, ()),
            Err(status) => {
                error!("mesh-jwt: the host refused to resume a request: status {status}");
                self.refuse();
            }
        }
    }

    fn report(&mut self, event: &Event, config: &Config) {
        match event.log_line(config) {
            Some((Level::Debug, line)) => debug!("mesh-jwt: {line}"),
            Some((Level::Info, line)) => info!("mesh-jwt: {line}"),
            Some((Level::Warn, line)) => warn!("mesh-jwt: {line}"),
            None => {}
        }
    }

    fn tell(&mut self, counters: &mut Counters) {
        self.stats.tell(counters);
    }

    fn set_timer(&mut self, delay: Duration) {
        host::set_timer(delay);
    }
}

/// Sends a local reply to the selected stream. If the host refuses, ends the stream: left alone,
/// the request would wait until its client gives up.
pub(super) fn send(reply: &LocalReply) {
    if let Err(status) = host::send(reply) {
        error!("mesh-jwt: the host refused a local reply: status {status}");
        if let Err(status) = host::cut_off() {
            error!("mesh-jwt: the host refused to end a request: status {status}");
        }
    }
}

const HEAD: MapType = MapType::HttpRequestHeaders;
const CODE_STATE: &str = "mesh_jwt.code";
const PROVIDER_STATE: &str = "mesh_jwt.provider";
