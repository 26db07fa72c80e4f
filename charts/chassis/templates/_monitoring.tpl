{{- /*
Objects for the Prometheus operator and for Grafana's dashboard sidecar. The admin port of a pod serves the metrics of
all processes of the pod, so one scrape target per pod is enough.
*/ -}}

{{- /* chassis.scrapeAnnotations: the annotations by which Prometheus finds a pod, if metrics.annotations */ -}}
{{- define "chassis.scrapeAnnotations" -}}
{{- if .Values.metrics.annotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9090"
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{- /* chassis.serviceMonitor: the ServiceMonitor, if metrics.serviceMonitor.enabled */ -}}
{{- define "chassis.serviceMonitor" -}}
{{- $monitor := .Values.metrics.serviceMonitor -}}
{{- if $monitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) $monitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
  endpoints:
    - {{- include "chassis.metricsEndpoint" $monitor | nindent 6 }}
{{- end }}
{{- end }}

{{- /* chassis.podMonitor: the PodMonitor, if metrics.podMonitor.enabled */ -}}
{{- define "chassis.podMonitor" -}}
{{- $monitor := .Values.metrics.podMonitor -}}
{{- if $monitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) $monitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
  podMetricsEndpoints:
    - {{- include "chassis.metricsEndpoint" $monitor | nindent 6 }}
{{- end }}
{{- end }}

{{- /* chassis.metricsEndpoint MONITOR: the endpoint of a monitor; MONITOR is its values, with `interval` */ -}}
{{- define "chassis.metricsEndpoint" -}}
port: admin
path: /metrics
{{- with .interval }}
interval: {{ . | quote }}
{{- end }}
{{- end }}

{{- /*
chassis.prometheusRules: a PrometheusRule for each file of files/rules, if metrics.rules.enabled. The files are rule
files that Prometheus itself can read.
*/ -}}
{{- define "chassis.prometheusRules" -}}
{{- if .Values.metrics.rules.enabled -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yaml" }}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- $name := include "chassis.fileObjectName" (list $ $path) }}
  {{- include "chassis.metadata" (list $ "server" $name $.Values.metrics.rules.labels) | nindent 2 }}
spec:
  {{- $rules := regexReplaceAll "(?m)^#.*\n" ($.Files.Get $path) "" }}
  {{- with $.Values.metrics.rules.runbookUrl }}
  {{- $rules = $rules | replace "docs/runbook.md" . }}
  {{- else }} {{- /* no link is better than one that leads nowhere */}}
  {{- $rules = regexReplaceAll "(?m)^ *runbook_url: .*\n" $rules "" }}
  {{- end }}
  {{- $rules | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.dashboards: a ConfigMap for each file of files/dashboards, if metrics.dashboards.enabled */ -}}
{{- define "chassis.dashboards" -}}
{{- $dashboards := .Values.metrics.dashboards -}}
{{- if $dashboards.enabled -}}
{{- range $path, $_ := .Files.Glob "files/dashboards/*.json" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "chassis.metadata" (list $ "server" (include "chassis.fileObjectName" (list $ $path)) $dashboards.labels $dashboards.annotations) | nindent 2 }}
data:
  {{ printf "%s-%s" (include "chassis.serviceName" $) (base $path) }}: |-
    {{- $.Files.Get $path | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.fileObjectName (list CONTEXT PATH): the name of the object made from the chart file PATH */ -}}
{{- define "chassis.fileObjectName" -}}
{{- $file := base (index . 1) | trimSuffix (ext (index . 1)) | lower | replace "_" "-" -}}
{{ printf "%s-%s" (include "chassis.fullname" (index . 0)) $file }}
{{- end }}
