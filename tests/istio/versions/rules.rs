//! `x-kubernetes-validations`: rules in the Common Expression Language (CEL), as a keyword of JSON
//! Schema.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::extractors::This;
use cel::{Context, Env, Program, extensions};
use http::Uri;
use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

/// A rule that cannot be compiled is an error of the schema.
pub(crate) fn keyword<'schema>(
    _: &'schema Map<String, Value>,
    rules: &'schema Value,
    at: Location,
) -> Result<Box<dyn for<'instance> Keyword<'instance>>, ValidationError<'schema>> {
    let rules = rules.as_array().into_iter().flatten().map(|rule| {
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        let program = ENV.compile(&text("rule")).map_err(|error| {
            ValidationError::schema(format!("{at}: {} cannot be run: {error}", text("rule")))
        })?;
        Ok(Rule { text: text("rule"), message: text("message"), program })
    });
    Ok(Box::new(Rules(rules.collect::<Result<_, ValidationError<'schema>>>()?)))
}

struct Rules(Vec<Rule>);

struct Rule {
    text: String,
    message: String,
    program: Program,
}

impl<'instance> Keyword<'instance> for Rules {
    fn validate(&self, instance: &'instance Value) -> Result<(), ValidationError<'instance>> {
        self.0.iter().try_for_each(|rule| rule.check(instance).map_err(ValidationError::custom))
    }

    fn is_valid(&self, instance: &'instance Value) -> bool {
        self.validate(instance).is_ok()
    }
}

impl Rule {
    fn check(&self, instance: &Value) -> Result<(), String> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("self", value(instance));
        context.add_function("isURL", is_url).expect("a name that is free");
        context.add_function("url", |text: Arc<String>| text).expect("a name that is free");
        context.add_function("getScheme", scheme).expect("a name that is free");
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(true)) => Ok(()),
            Ok(cel::Value::Bool(false)) => Err(self.message.clone()),
            // As in Kubernetes, a rule that fails refuses.
            other => Err(format!("{}: {other:?}", self.text)),
        }
    }
}

/// An integer is signed in Kubernetes, whatever its value.
fn value(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => cel::Value::Int(number),
            None => cel::Value::Float(number.as_f64().expect("a number")),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(value).collect::<Vec<_>>().into(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| (name.as_str(), value(member)));
            members.collect::<HashMap<_, _>>().into()
        }
    }
}

/// One of Kubernetes' own functions: whether this is an absolute URI or an absolute path.
fn is_url(text: Arc<String>) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/'))
}

/// And so is this, a method of what `url` makes.
fn scheme(This(text): This<Arc<String>>) -> String {
    let uri: Option<Uri> = text.parse().ok();
    uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default().to_owned()
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings).expect("names that are free");
    Arc::new(env)
});
