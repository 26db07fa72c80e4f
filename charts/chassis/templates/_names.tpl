{{- /*
Conventions in all files here: a named template takes the chart's root context (`.`) unless its comment lists other
arguments. CONTEXT is that root context. COMPONENT is the value of the label app.kubernetes.io/component.
*/ -}}

{{- /* chassis.serviceName: the service of this chart, order or payment. Under an alias, .Chart.Name is the alias. */ -}}
{{- define "chassis.serviceName" -}}
{{ index .Chart.Annotations "tandem/service" }}
{{- end }}

{{- /*
chassis.name (list CONTEXT SERVICE): the name of a service's objects in this release: RELEASE-SERVICE, or SERVICE if
the release has that name. The release's part is cut to 33 characters, and the whole to 41, so that NAME-postgresql fits
the 52 characters of a StatefulSet, and NAME-migrate-HASH the 63 characters of a Job.
*/ -}}
{{- define "chassis.name" -}}
{{- $release := (index . 0).Release.Name | replace "." "-" | trunc 33 | trimSuffix "-" -}}
{{- $service := index . 1 -}}
{{- ternary $service (printf "%s-%s" $release $service) (eq $release $service) | trunc 41 | trimSuffix "-" -}}
{{- end }}

{{- /* chassis.fullname: the name of this chart's objects: fullnameOverride, or chassis.name with nameOverride */ -}}
{{- define "chassis.fullname" -}}
{{- .Values.fullnameOverride | default (include "chassis.name" (list . (.Values.nameOverride | default (include "chassis.serviceName" .)))) -}}
{{- end }}

{{- /* chassis.serviceAccountName: the name of the ServiceAccount of the pods; `default` if none is created or named */ -}}
{{- define "chassis.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "chassis.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* chassis.selector (list CONTEXT COMPONENT): the labels that never change, for selectors and volume claims */ -}}
{{- define "chassis.selector" -}}
app.kubernetes.io/name: {{ include "chassis.serviceName" (index . 0) | quote }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end }}

{{- /* chassis.labels (list CONTEXT COMPONENT [LABELS]): the labels of a pod: the selector, commonLabels and LABELS, which override them */ -}}
{{- define "chassis.labels" -}}
{{ include "chassis.selector" . }}
app.kubernetes.io/part-of: tandem
{{- with merge dict (last (concat (list dict) (slice . 2)) | default dict) ((index . 0).Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /*
chassis.metadata (list CONTEXT COMPONENT NAME [LABELS [ANNOTATIONS]]): an object's name, namespace, labels and
annotations. ANNOTATIONS override commonAnnotations.
*/ -}}
{{- define "chassis.metadata" -}}
{{- $context := index . 0 -}}
{{- $more := concat (slice . 3) (list dict dict) -}}
name: {{ index . 2 | quote }}
namespace: {{ $context.Release.Namespace | quote }}
{{- with merge dict (index $more 1) ($context.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- include "chassis.labels" (list $context (index . 1) (first $more)) | nindent 2 }}
  app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $context.Release.Service | quote }}
  helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{- /*
chassis.facts: what differs between the service charts, as YAML from the chart's own template CHART.facts:
  port     port of the API
  operatorPort  port of the page for operators; may be missing
  peer     the other service: {name, port, namespace}; an empty namespace is the release's
  env      settings that only this service has: {NAME: value}
  secrets  keys of the credentials Secret that this service reads: {SETTING: key}
  egress   destinations outside the cluster: a list of {cidrs, ports}; empty cidrs are the whole internet
  connections  how many connections to the database a pod opens: {perThread, others}
  publisherConnections  how many connections all pods of the publisher open; may be missing
  errors   contradictions between values that only this chart has: a list of messages; may be missing
*/ -}}
{{- define "chassis.facts" -}}
{{ include (printf "%s.facts" (include "chassis.serviceName" .)) . }}
{{- end }}

{{- /*
chassis.image (list CONTEXT NAME): the image name NAME with global.imageRegistry in front. A NAME that starts with a
registry (its first part has a dot or a colon, or is `localhost`) stays as it is.
*/ -}}
{{- define "chassis.image" -}}
{{- $registry := (index . 0).Values.global.imageRegistry -}}
{{- if and $registry (not (include "chassis.namesRegistry" (index . 1))) -}}{{ $registry }}/{{- end -}}
{{ index . 1 }}
{{- end }}

{{- /* chassis.namesRegistry NAME: "yes" if the image name starts with a registry, otherwise empty */ -}}
{{- define "chassis.namesRegistry" -}}
{{- $parts := splitList "/" . -}}
{{- if and (gt (len $parts) 1) (or (regexMatch "[.:]" (first $parts)) (eq (first $parts) "localhost")) -}}yes{{- end -}}
{{- end }}

{{- /*
chassis.serviceImage: the name of the service's image, without tag. Without a registry it is localhost/NAME, an image that
was loaded into the nodes: a short name would mean somebody's image on Docker Hub.
*/ -}}
{{- define "chassis.serviceImage" -}}
{{- if not (or .Values.global.imageRegistry (include "chassis.namesRegistry" .Values.image.repository)) -}}localhost/{{- end -}}
{{ include "chassis.image" (list . .Values.image.repository) }}
{{- end }}
