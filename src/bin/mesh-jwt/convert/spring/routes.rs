//! The routes of a source, in the order in which they are tried.

use super::super::conversion::Input;
use super::super::reader::{Fault, Field, Naming};
use super::super::report::Effect;
use super::jwt_auth::{Auth, ROUTING, filters_of};
use crate::tree::Node;

pub(super) struct Route<'s> {
    order: i64,
    pub(super) field: Field<'s>,
    pub(super) auth: Option<Auth<'s>>,
}

/// All routes of a gateway.
#[derive(Default)]
pub(super) struct Routes<'s> {
    pub(super) routes: Vec<Route<'s>>,
    /// Whether the gateway answers preflights by itself.
    pub(super) has_cors: bool,
}

/// Spring takes a list from one place alone, so that there may be only one that has any.
pub(super) fn of_input(input: &Input) -> Result<Routes<'_>, Fault> {
    let mut found: Option<Routes<'_>> = None;
    let mut has_cors = false;
    for document in &input.documents {
        let root = Field::new(&input.ledger, Naming::Relaxed, document, String::new());
        let is_route = |node: &Node| node.get("predicates").is_some();
        let is_list = document.is_list() && document.items().iter().any(is_route);
        let gateways = if is_list { vec![root] } else { gateways(&root)? };
        for gateway in gateways {
            if let Some(cors) = gateway.member("globalcors") {
                cors.differ(
                    "the gateway answers CORS preflights, so that they pass without a token \
                     (bypassCorsPreflight)",
                );
                cors.settle();
                has_cors = true;
            }
            let routes = if is_list { Some(gateway.clone()) } else { gateway.member("routes") };
            let defaults = gateway.member("default-filters");
            let Some(first) = routes.clone().or_else(|| defaults.clone()) else { continue };
            if found.is_some() {
                return Err(first.fault(
                    "is a second place with routes or default-filters, of which Spring may take \
                     one; put those that count into one place",
                ));
            }
            let routes = routes.map_or_else(|| Ok(Vec::new()), |routes| routes.items())?;
            let mut routes = routes.into_iter().map(route).collect::<Result<Vec<_>, _>>()?;
            if let Some(defaults) = defaults {
                let default = filters_of(defaults.items()?)?;
                add_default(&mut routes, default.as_ref())?;
            }
            routes.sort_by_key(|route| route.order);
            found = Some(Routes { routes, has_cors: false });
        }
    }
    Ok(Routes { has_cors, ..found.unwrap_or_default() })
}

/// The places of a document where Spring Cloud Gateway looks.
fn gateways<'s>(root: &Field<'s>) -> Result<Vec<Field<'s>>, Fault> {
    let places: [&[&str]; 3] = [
        &["spring", "cloud", "gateway"],
        &["spring", "cloud", "gateway", "server", "webflux"],
        &["spring", "cloud", "gateway", "server", "webmvc"],
    ];
    for place in places {
        let mut field = Some(root.clone());
        for (depth, name) in place.iter().enumerate() {
            let Some(parent) = field else { break };
            check_names(&parent, place.get(depth..).unwrap_or_default())?;
            field = parent.member(name);
        }
        if let Some(gateway) = field {
            check_names(&gateway, &[])?;
        }
    }
    Ok(places.into_iter().filter_map(|place| root.descend(place)).collect())
}

/// Refuses names that Spring reads as the next one of the `way` and that [`Field::member`] does not
/// find: `spring.cloud.gateway` in one, or a second spelling.
fn check_names(parent: &Field<'_>, way: &[&str]) -> Result<(), Fault> {
    let mut seen = Vec::new();
    for (name, field) in parent.fields() {
        let name = name.replace(['-', '_'], "").to_lowercase();
        let parts: Vec<_> = name.split(['.', '[']).collect();
        let leads_on = match way {
            [] => parts.first().is_some_and(|first| MEMBERS.contains(first)),
            way => parts.iter().zip(way).all(|(part, next)| part == next),
        };
        if leads_on && (parts.len() > 1 || seen.contains(&name)) {
            return Err(field.fault(
                "has a name of several parts, or a second spelling of another; write each name once, \
                 parts as maps, and lists as lists",
            ));
        }
        seen.push(name);
    }
    Ok(())
}

/// A filter that all routes have, beside their own.
fn add_default<'s>(routes: &mut [Route<'s>], default: Option<&Auth<'s>>) -> Result<(), Fault> {
    let Some(default) = default else { return Ok(()) };
    for route in routes {
        if let Some(own) = &route.auth {
            return Err(own.field.fault(
                "is a JwtAuth beside that of default-filters, and Spring asks for both; move the \
                 default into the routes that have none",
            ));
        }
        route.auth = Some(default.clone());
    }
    Ok(())
}

fn route(field: Field<'_>) -> Result<Route<'_>, Fault> {
    let order = field.member("order").map(|order| order.scalar()).transpose()?;
    let order = order.map_or(Some(0), |order| order.parse().ok());
    let Some(order) = order else {
        return Err(field.fault("has an order that is not a whole number; write one"));
    };
    if let Some(enabled) =
        field.member("enabled").filter(|enabled| enabled.flag().ok() != Some(true))
    {
        return Err(enabled.fault("may switch the route off; remove the route, or this"));
    }
    if field.list("predicates")?.is_empty() {
        return Err(field.fault("has no predicates; write Path=/** if it is for every request"));
    }
    for ignored in ["id", "uri"].into_iter().filter_map(|name| field.member(name)) {
        ignored.settle();
    }
    if let Some(metadata) = field.member("metadata") {
        metadata.lose(Effect::None, "the filter routes nothing", ROUTING);
    }
    let auth = filters_of(field.list("filters")?)?;
    Ok(Route { order, field, auth })
}

/// What is looked for in a gateway, as it is compared.
const MEMBERS: [&str; 4] = ["defaultfilters", "globalcors", "routes", "server"];
