{{/* The name of everything that is made for the controller. */}}
{{- define "pailou.controller" -}}
{{- printf "%s-controller" (.Release.Name | trunc 52 | trimSuffix "-") -}}
{{- end -}}

{{- define "pailou.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "pailou.selector" -}}
app.kubernetes.io/name: pailou-controller
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "pailou.labels" -}}
{{ include "pailou.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What is asked of the API server beyond namespaces, wherever objects are watched. */}}
{{- define "pailou.clusterRules" -}}
# What is watched wherever objects are.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
- apiGroups: [certificates.k8s.io]
  resources: [clustertrustbundles]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [update]
# Addresses of Gateways whose Service is of type NodePort; watched once there is one.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
# Who a proxy is that asks for its feed.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end -}}

{{/* What is asked of the API server in each namespace that is watched. */}}
{{- define "pailou.namespaceRules" -}}
# What is watched.
- apiGroups: [""]
  resources: [services, secrets, configmaps, pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, listenersets, httproutes, grpcroutes, tlsroutes, tcproutes, udproutes, referencegrants, backendtlspolicies]
  verbs: [get, list, watch]
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch]
- apiGroups: [inference.networking.x-k8s.io]
  resources: [inferencepools, inferencemodels, inferenceobjectives, inferencemodelrewrites]
  verbs: [get, list, watch]
- apiGroups: [llm-d.ai]
  resources: [inferenceobjectives, inferencemodelrewrites]
  verbs: [get, list, watch]
- apiGroups: [gateway.envoyproxy.io]
  resources: [backends, httproutefilters, clienttrafficpolicies, backendtrafficpolicies, securitypolicies, envoyproxies, envoyextensionpolicies, envoypatchpolicies]
  verbs: [get, list, watch]
- apiGroups: [aigateway.envoyproxy.io]
  resources: [gatewayconfigs]
  verbs: [get, list, watch]
# Known and not acted on: each is named in an event.
- apiGroups: [inferenceextension.alibabacloud.com]
  resources: [inferencetrafficpolicies, acktrafficfilters]
  verbs: [get, list, watch]
# What is said of it.
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways/status, listenersets/status, httproutes/status, grpcroutes/status, tlsroutes/status, tcproutes/status, udproutes/status, backendtlspolicies/status]
  verbs: [update]
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools/status]
  verbs: [update]
- apiGroups: [inference.networking.x-k8s.io]
  resources: [inferencepools/status, inferencemodels/status, inferenceobjectives/status, inferencemodelrewrites/status]
  verbs: [update]
- apiGroups: [llm-d.ai]
  resources: [inferenceobjectives/status, inferencemodelrewrites/status]
  verbs: [update]
- apiGroups: [gateway.envoyproxy.io]
  resources: [backends/status, clienttrafficpolicies/status, backendtrafficpolicies/status, securitypolicies/status, envoyextensionpolicies/status]
  verbs: [update]
- apiGroups: [aigateway.envoyproxy.io]
  resources: [gatewayconfigs/status]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# The data planes.
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
{{- if .Values.proxy.networkPolicy.enabled }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- end -}}

{{/* The name of everything that is made for a picker. */}}
{{- define "pailou.picker" -}}
{{- .name | default (printf "%s-epp" (.pool | replace "." "-" | trunc 59 | trimSuffix "-")) -}}
{{- end -}}

{{- define "pailou.pickerSelector" -}}
app.kubernetes.io/name: pailou-picker
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name | quote }}
{{- end -}}

{{- define "pailou.pickerLabels" -}}
{{ include "pailou.pickerSelector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}
