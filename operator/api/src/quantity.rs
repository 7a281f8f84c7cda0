use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// An amount as Kubernetes writes it: `10m`, `128Mi`, `1`.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl Quantity {
    /// The amount that this text writes.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its size, to compare it by; nothing of what is no amount.
    pub fn amount(&self) -> Option<f64> {
        let digits = self.0.find(|one: char| one.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (number, unit) = self.0.split_at(digits);
        let unit = match unit {
            "" => 1.0,
            "m" => 1e-3,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "P" => 1e15,
            "E" => 1e18,
            "Ki" => 1_024_f64,
            "Mi" => 1_024_f64.powi(2),
            "Gi" => 1_024_f64.powi(3),
            "Ti" => 1_024_f64.powi(4),
            "Pi" => 1_024_f64.powi(5),
            "Ei" => 1_024_f64.powi(6),
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * unit)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(i64),
            Text(String),
        }
        Written::deserialize(deserializer).map(|written| match written {
            Written::Whole(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_their_units() {
        let amounts = ["0", "1m", "0.5", "1500m", "2", "1k", "1Ki", "512Mi", "1G", "1Gi", "1.5Gi", "1Ei"];
        let amounts = amounts.map(|text| Quantity::new(text).amount().unwrap_or(f64::NAN));
        assert!(amounts.is_sorted_by(|one, other| one < other), "{amounts:?}");
        for no_amount in ["", "m", "1Xi", "one"] {
            assert_eq!(Quantity::new(no_amount).amount(), None, "{no_amount}");
        }
    }
}
