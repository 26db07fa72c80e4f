{{- /* chassis.peers (list CONTEXT PEER): the pods of the other service, whichever release they came with */ -}}
{{- define "chassis.peers" -}}
{{- $peer := index . 1 -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ $peer.name }}
      app.kubernetes.io/part-of: tandem
  {{- with $peer.namespace }}
  {{- include "chassis.inNamespace" . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "chassis.inNamespace" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ . }}
{{- end }}

{{- /* chassis.callers: who may call the API besides those that networkPolicy.from lists */ -}}
{{- define "chassis.callers" -}}
{{- if .Values.networkPolicy.anyNamespace -}}
- namespaceSelector: {}
{{- else -}}
{{ include "chassis.peers" (list . (include "chassis.facts" . | fromYaml).peer) }}
{{- if .Files.Get "files/test.py" }}
- podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "test") | nindent 6 }}
{{- end }}
{{- with .Values.networkPolicy.ingressNamespace }}
- {{- include "chassis.inNamespace" . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.ofService: selects the pods that run the service's image, and need its database */ -}}
{{- define "chassis.ofService" -}}
matchLabels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [server, migrate, purge]}
{{- end }}

{{- /* chassis.databasePeers: where the database is; empty when nobody has said */ -}}
{{- define "chassis.databasePeers" -}}
{{- if .Values.postgresql.enabled -}}
- podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "postgresql") | nindent 6 }}
{{- else if .Values.database.cloudNativePG -}}
- podSelector:
    matchLabels:
      cnpg.io/cluster: {{ .Values.database.cloudNativePG }}
{{- else -}}
{{- with .Values.networkPolicy.database.to }}{{ toYaml . }}{{ end }}
{{- end }}
{{- end }}

{{- /* chassis.urlPort (URL): the port that a URL leads to */ -}}
{{- define "chassis.urlPort" -}}
{{- $url := urlParse . -}}
{{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{- /* chassis.internet (list CIDRS): the whole internet without private networks, or these networks */ -}}
{{- define "chassis.internet" -}}
{{- range . }}
- ipBlock: {cidr: {{ . | quote }}}
{{- else }}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/4]
- ipBlock:
    cidr: 2000::/3
{{- end }}
{{- end }}

{{- define "chassis.networkPolicy" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
{{- $postgresql := printf "%s-postgresql" (include "chassis.fullname" .) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  podSelector:
    {{- include "chassis.ofService" . | nindent 4 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: http
      from:
        {{- include "chassis.callers" . | nindent 8 }}
        {{- with .Values.networkPolicy.from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    - ports: # metrics and health
        - port: admin
      from:
        {{- with .Values.networkPolicy.monitoringNamespace }}
        - {{- include "chassis.inNamespace" . | nindent 10 }}
        {{- else }}
        - namespaceSelector: {}
        {{- end }}
  egress:
    - ports: # DNS, wherever the cluster has it: a Service, a cache on the node
        - {port: 53, protocol: UDP}
        - {port: 53, protocol: TCP}
    - ports:
        - port: {{ $facts.peer.port }}
      to:
        {{- include "chassis.peers" (list . $facts.peer) | nindent 8 }}
    - ports:
        - port: {{ ternary 5432 .Values.networkPolicy.database.port (or .Values.postgresql.enabled (not (empty .Values.database.cloudNativePG))) }}
      {{- with include "chassis.databasePeers" . }}
      to:
        {{- . | nindent 8 }}
      {{- end }}
    {{- with .Values.jwt.jwksUrl }}
    - ports: # {{ . }}
        - port: {{ include "chassis.urlPort" . }}
    {{- end }}
    {{- with .Values.tracing.endpoint }}
    - ports: # {{ . }}
        - port: {{ include "chassis.urlPort" . }}
      {{- with $.Values.networkPolicy.tracing.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- range $facts.egress }}
    - ports:
        {{- range .ports }}
        - port: {{ . }}
        {{- end }}
      to:
        {{- include "chassis.internet" .cidrs | nindent 8 }}
    {{- end }}
    {{- with .Values.networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- if .Values.postgresql.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "postgresql" $postgresql) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "postgresql") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: postgresql
      from:
        - podSelector:
            {{- include "chassis.ofService" . | nindent 12 }}
{{- end }}
{{- end }}
{{- end }}
