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

{{- define "chassis.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "chassis.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* chassis.selector (list CONTEXT COMPONENT): the labels that never change, for selectors and claims */ -}}
{{- define "chassis.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* chassis.labels (list CONTEXT COMPONENT [LABELS]): of every object, pods included */ -}}
{{- define "chassis.labels" -}}
{{ include "chassis.selector" . }}
app.kubernetes.io/part-of: tandem
{{- with merge dict (index . 0).Values.commonLabels (last (concat (list dict) (slice . 2))) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* chassis.metadata (list CONTEXT COMPONENT NAME [LABELS]): name, namespace and labels of an object */ -}}
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
chassis.facts: what a service chart says about itself, as YAML from its own template NAME.facts:
  port     of its API
  peer     the service that it works with: {name, port, namespace}, this namespace when that is empty
  env      settings that only this service has
  secrets  the keys of the credentials Secret that it reads: {SETTING: key}
  egress   where it goes outside the cluster: {cidrs, ports}; no cidrs mean the whole internet
*/ -}}
{{- define "chassis.facts" -}}
{{ include (printf "%s.facts" .Chart.Name) . }}
{{- end }}

{{- /* chassis.image (list CONTEXT NAME): an image's name, behind global.imageRegistry unless it begins with a registry */ -}}
{{- define "chassis.image" -}}
{{- $registry := (index . 0).Values.global.imageRegistry -}}
{{- $parts := splitList "/" (index . 1) -}}
{{- $named := and (gt (len $parts) 1) (or (regexMatch "[.:]" (first $parts)) (eq (first $parts) "localhost")) -}}
{{- if and $registry (not $named) -}}{{ $registry }}/{{- end -}}
{{ index . 1 }}
{{- end }}
