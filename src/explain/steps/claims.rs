//! The steps that ask whether a token is what its provider and the rule take.

use super::{Steps, Walk, one_of};
use crate::authn;
use crate::config::Provider;
use crate::jose::Token;
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::rules::Requirement;
use crate::time::Timestamp;
use std::time::Duration;

impl Walk<'_> {
    pub(super) fn of_provider(&self, steps: &mut Steps, provider: &Provider, token: &Token) {
        let claims = token.claims();
        let skew = humantime::format_duration(provider.clock_skew);
        steps.add(
            "type",
            &[Reason::TypNotAllowed],
            token.typ().map_or_else(|| "no typ".to_owned(), |typ| format!("typ {typ:?}")),
            format!(
                "typ {}{}",
                provider.token_types.join(" or "),
                if provider.require_token_type { "" } else { ", or none" }
            ),
        );
        steps.add(
            "expiration",
            &[Reason::ExpirationMissing, Reason::TokenExpired],
            claims
                .exp
                .map_or_else(|| "no exp".to_owned(), |exp| format!("exp {}", self.relative(exp))),
            match provider.require_expiration {
                true => format!("exp not over by {skew} (clockSkew)"),
                false => format!("exp not over by {skew} (clockSkew), or none"),
            },
        );
        steps.add(
            "not before",
            &[Reason::TokenNotYetValid],
            claims
                .nbf
                .map_or_else(|| "no nbf".to_owned(), |nbf| format!("nbf {}", self.relative(nbf))),
            format!("nbf not more than {skew} ahead (clockSkew), or none"),
        );
        steps.add(
            "binding",
            &[Reason::TokenBound],
            if claims.is_bound() { "cnf" } else { "no cnf" }.to_owned(),
            match provider.allow_bound_tokens {
                true => "anything: allowBoundTokens",
                false => "no cnf, which asks for proof of possession",
            }
            .to_owned(),
        );
        if !provider.audiences.is_empty() {
            let fails = self.reason == Some(Reason::AudienceNotAllowed)
                && !claims.is_for_any_of(&provider.audiences);
            steps.add_if("audience", fails, self.audience(token), one_of(&provider.audiences));
        }
        if let Some(most) = provider.max_lifetime {
            let lifetime = authn::lifetime(claims, provider.clock_skew, self.now);
            let from = match claims.iat {
                Some(iat) if iat > self.now.saturating_add(provider.clock_skew) => {
                    "counted from now, since iat is ahead"
                }
                Some(_) => "from iat to exp",
                None => "from now to exp",
            };
            steps.add(
                "lifetime",
                &[Reason::LifetimeTooLong],
                match claims.exp {
                    Some(_) => {
                        format!("{} {from}", humantime::format_duration(whole_seconds(lifetime)))
                    }
                    None => "no exp".to_owned(),
                },
                format!("at most {} (maxLifetime)", humantime::format_duration(most)),
            );
        }
    }

    pub(super) fn of_rule(
        &self,
        steps: &mut Steps,
        requirement: &Requirement,
        id: ProviderId,
        token: &Token,
    ) {
        if let Some(providers) = &requirement.providers {
            let names: Vec<_> =
                providers.iter().map(|id| self.explainer.provider(*id).name.clone()).collect();
            let saw = format!("the provider {:?}", self.explainer.provider(id).name);
            let wanted = format!("{} (providers of the rule)", one_of(&names));
            steps.add("provider", &[Reason::ProviderNotAllowed], saw, wanted);
        }
        for audiences in &requirement.audiences {
            let fails = self.reason == Some(Reason::AudienceNotAllowed)
                && !token.claims().is_for_any_of(audiences);
            let wanted = format!("{} (requires.audiences of the rule)", one_of(audiences));
            steps.add_if("audience of the rule", fails, self.audience(token), wanted);
        }
    }

    fn audience(&self, token: &Token) -> String {
        match token.claims().member("aud") {
            None => "no aud".to_owned(),
            aud @ Some(_) => format!("aud is {}", self.mask.value(aud)),
        }
    }

    fn relative(&self, at: Timestamp) -> String {
        if at == Timestamp::MAX {
            return "is beyond all times".to_owned();
        }
        let by = |duration| humantime::format_duration(whole_seconds(duration));
        match at > self.now {
            true => format!("is {} ahead", by(at.saturating_since(self.now))),
            false => format!("was {} ago", by(self.now.saturating_since(at))),
        }
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
