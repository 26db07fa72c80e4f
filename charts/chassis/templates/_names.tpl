{{- /*
chassis.name (list CONTEXT SERVICE): what the objects of a service are called in this release. A name is short
enough that NAME-postgresql still fits a StatefulSet (52 characters).
*/ -}}
{{- define "chassis.name" -}}
{{- $release := (index . 0).Release.Name | replace "." "-" | trunc 33 | trimSuffix "-" -}}
{{- $service := index . 1 -}}
{{- ternary $service (printf "%s-%s" $release $service) (eq $release $service) -}}
{{- end }}

{{- define "chassis.fullname" -}}
{{ include "chassis.name" (list . .Chart.Name) }}
{{- end }}

{{- /* chassis.selector (list CONTEXT COMPONENT): the labels that never change, for selectors and claims */ -}}
{{- define "chassis.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* chassis.podLabels (list CONTEXT COMPONENT) */ -}}
{{- define "chassis.podLabels" -}}
{{ include "chassis.selector" . }}
app.kubernetes.io/part-of: tandem
{{- end }}

{{- /* chassis.metadata (list CONTEXT COMPONENT NAME): name, namespace and labels of an object */ -}}
{{- define "chassis.metadata" -}}
{{- $context := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $context.Release.Namespace }}
labels:
  {{- include "chassis.podLabels" . | nindent 2 }}
  app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $context.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /*
chassis.facts: what a service chart says about itself, as YAML from its own template NAME.facts:
  port     of its API
  public   whether any pod of the cluster may call it, or only its peer
  peer     the service that it works with: {name, port}
  env      settings that only this service has
  secrets  the keys of the credentials Secret that it reads: {SETTING: key}
*/ -}}
{{- define "chassis.facts" -}}
{{ include (printf "%s.facts" .Chart.Name) . }}
{{- end }}
