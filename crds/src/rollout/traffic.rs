use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;

/// Who splits the traffic. All that are given are driven (F48).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutTrafficRouting {
    /// Istio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio: Option<IstioTrafficRouting>,
    /// The NGINX ingress controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nginx: Option<NginxTrafficRouting>,
    /// Amazon's application load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alb: Option<ALBTrafficRouting>,
    /// Service Mesh Interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smi: Option<SMITrafficRouting>,
    /// Ambassador.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador: Option<AmbassadorTrafficRouting>,
    /// Amazon App Mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_mesh: Option<AppMeshTrafficRouting>,
    /// Traefik.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traefik: Option<TraefikTrafficRouting>,
    /// Names of the routes that header and mirror steps may make, first is first matched (F46).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub managed_routes: Vec<ManagedRoute>,
    /// Apache APISIX.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apisix: Option<ApisixTrafficRouting>,
    /// Traffic plugins, by name, with their configuration (F91).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Opaque"))]
    pub plugins: BTreeMap<String, Value>,
    /// Weight of all traffic; NGINX and plugins only. Default 100 (F47).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_traffic_weight: Option<i32>,
}

/// A route that header and mirror steps may make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ManagedRoute {
    /// Its name.
    pub name: String,
}

/// The NGINX ingress controller: a canary Ingress beside each stable one (F79).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct NginxTrafficRouting {
    /// Prefix of the annotations. Default `nginx.ingress.kubernetes.io`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_prefix: Option<String>,
    /// The Ingress to copy; not together with `stableIngresses`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_ingress: Option<String>,
    /// The Ingresses to copy; not together with `stableIngress`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stable_ingresses: Vec<String>,
    /// Annotations for the canary Ingress, prefixed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_ingress_annotations: BTreeMap<String, String>,
    /// Annotations for the canary Ingress, as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub canary_ingress_annotations: BTreeMap<String, String>,
}

/// Amazon's application load balancer: an action annotation of the Ingress (F80).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ALBTrafficRouting {
    /// The Ingress; not together with `ingresses`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// Port of the Services.
    pub service_port: i32,
    /// The Service that the Ingress names. Default: the stable Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_service: Option<String>,
    /// Keeps a client at one version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stickiness_config: Option<StickinessConfig>,
    /// Prefix of the annotations. Default `alb.ingress.kubernetes.io`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_prefix: Option<String>,
    /// The Ingresses; not together with `ingress`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingresses: Vec<String>,
}

/// Keeps a client at one version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct StickinessConfig {
    /// Whether it does.
    pub enabled: bool,
    /// For how many seconds, 1 to 604800.
    pub duration_seconds: i64,
}

/// Istio: weights of hosts or of subsets (F72 to F78).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct IstioTrafficRouting {
    /// The VirtualService; not together with `virtualServices`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_service: Option<IstioVirtualService>,
    /// Splits by subsets of this DestinationRule. Default: by hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_rule: Option<IstioDestinationRule>,
    /// The VirtualServices; not together with `virtualService`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub virtual_services: Vec<IstioVirtualService>,
}

/// A VirtualService whose weights are set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct IstioVirtualService {
    /// Its name, or `name.namespace`.
    pub name: String,
    /// Names of its http routes. Default: the only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Its tls routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_routes: Vec<TLSRoute>,
    /// Its tcp routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp_routes: Vec<TCPRoute>,
}

/// A tls route, by port, hosts or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TLSRoute {
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// Its hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sni_hosts: Vec<String>,
}

/// A tcp route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TCPRoute {
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
}

/// A DestinationRule with a subset for each version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct IstioDestinationRule {
    /// Its name.
    pub name: String,
    /// Subset of the canary.
    pub canary_subset_name: String,
    /// Subset of the stable version.
    pub stable_subset_name: String,
    /// Subsets whose weights are kept (F74).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_subset_names: Vec<String>,
}

/// Service Mesh Interface: a TrafficSplit (F85).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SMITrafficRouting {
    /// The Service that clients use. Default: the stable Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_service: Option<String>,
    /// Name of the TrafficSplit. Default: the name of the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_split_name: Option<String>,
}

/// Ambassador: a canary Mapping beside each stable one (F86).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AmbassadorTrafficRouting {
    /// The Mappings to copy.
    pub mappings: Vec<String>,
}

/// Amazon App Mesh (F87).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AppMeshTrafficRouting {
    /// The VirtualService whose router is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_service: Option<AppMeshVirtualService>,
    /// The VirtualNodes of the versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_node_group: Option<AppMeshVirtualNodeGroup>,
}

/// A VirtualService of App Mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AppMeshVirtualService {
    /// Its name.
    pub name: String,
    /// Names of its routes. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
}

/// The VirtualNodes of the versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AppMeshVirtualNodeGroup {
    /// That of the canary.
    pub canary_virtual_node_ref: AppMeshVirtualNodeReference,
    /// That of the stable version.
    pub stable_virtual_node_ref: AppMeshVirtualNodeReference,
}

/// Names a VirtualNode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AppMeshVirtualNodeReference {
    /// Its name.
    pub name: String,
}

/// Traefik: weights of a TraefikService (F88).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TraefikTrafficRouting {
    /// The TraefikService.
    pub weighted_traefik_service_name: String,
}

/// Apache APISIX: weights of an ApisixRoute (F89, F90).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ApisixTrafficRouting {
    /// The ApisixRoute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<ApisixRoute>,
}

/// An ApisixRoute whose weights are set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ApisixRoute {
    /// Its name.
    pub name: String,
    /// Names of its http rules. Default: the one named like the route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}
