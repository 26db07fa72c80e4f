{{- /*
Conventions in all files here: a named template takes the chart's root context (`.`) unless its comment lists other
arguments. CONTEXT is that root context. COMPONENT is the value of the label app.kubernetes.io/component.
*/ -}}

{{- /*
chassis.name (list CONTEXT SERVICE): the name of a service's objects in this release: RELEASE-SERVICE, or SERVICE if
the release has that name. The release's part is cut to 33 characters, so that NAME-postgresql fits the 52 characters
of a StatefulSet.
*/ -}}
{{- define "chassis.name" -}}
{{- $release := (index . 0).Release.Name | replace "." "-" | trunc 33 | trimSuffix "-" -}}
{{- $service := index . 1 -}}
{{- ternary $service (printf "%s-%s" $release $service) (eq $release $service) -}}
{{- end }}

{{- /* chassis.fullname: the name of this chart's objects */ -}}
{{- define "chassis.fullname" -}}
{{ include "chassis.name" (list . .Chart.Name) }}
{{- end }}

{{- /* chassis.serviceAccountName: the name of the ServiceAccount of the pods; `default` if none is created or named */ -}}
{{- define "chassis.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "chassis.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* chassis.selector (list CONTEXT COMPONENT): the labels that never change, for selectors and volume claims */ -}}
{{- define "chassis.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* chassis.labels (list CONTEXT COMPONENT [LABELS]): the labels of a pod: the selector, commonLabels and LABELS */ -}}
{{- define "chassis.labels" -}}
{{ include "chassis.selector" . }}
app.kubernetes.io/part-of: tandem
{{- with merge dict (index . 0).Values.commonLabels (last (concat (list dict) (slice . 2))) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* chassis.metadata (list CONTEXT COMPONENT NAME [LABELS]): an object's name, namespace and labels */ -}}
{{- define "chassis.metadata" -}}
{{- $context := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $context.Release.Namespace }}
labels:
  {{- include "chassis.labels" (concat (slice . 0 2) (slice . 3)) | nindent 2 }}
  app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $context.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /*
chassis.facts: what differs between the service charts, as YAML from the chart's own template CHART.facts:
  port     port of the API
  peer     the other service: {name, port, namespace}; an empty namespace is the release's
  env      settings that only this service has: {NAME: value}
  secrets  keys of the credentials Secret that this service reads: {SETTING: key}
  egress   destinations outside the cluster: a list of {cidrs, ports}; empty cidrs are the whole internet
*/ -}}
{{- define "chassis.facts" -}}
{{ include (printf "%s.facts" .Chart.Name) . }}
{{- end }}

{{- /*
chassis.image (list CONTEXT NAME): the image name NAME with global.imageRegistry in front. A NAME that starts with a
registry (its first part has a dot or a colon, or is `localhost`) stays as it is.
*/ -}}
{{- define "chassis.image" -}}
{{- $registry := (index . 0).Values.global.imageRegistry -}}
{{- $parts := splitList "/" (index . 1) -}}
{{- $named := and (gt (len $parts) 1) (or (regexMatch "[.:]" (first $parts)) (eq (first $parts) "localhost")) -}}
{{- if and $registry (not $named) -}}{{ $registry }}/{{- end -}}
{{ index . 1 }}
{{- end }}
