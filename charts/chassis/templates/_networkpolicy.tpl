{{- /* chassis.peers (list CONTEXT SERVICE): the pods of a service in this namespace, whichever release they came with */ -}}
{{- define "chassis.peers" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ index . 1 }}
      app.kubernetes.io/part-of: tandem
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
    matchLabels:
      app.kubernetes.io/name: {{ .Chart.Name }}
      app.kubernetes.io/instance: {{ .Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: [server, migrate, purge]}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: http
      from:
        {{- if $facts.public }}
        - namespaceSelector: {}
        {{- else }}
        {{- include "chassis.peers" (list . $facts.peer.name) | nindent 8 }}
        {{- end }}
        {{- with .Values.networkPolicy.from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    - ports: # metrics and health, for a Prometheus anywhere in the cluster
        - port: admin
      from:
        - namespaceSelector: {}
  egress:
    - ports: # DNS, wherever the cluster has it: a Service, a cache on the node
        - {port: 53, protocol: UDP}
        - {port: 53, protocol: TCP}
    - ports:
        - port: {{ $facts.peer.port }}
      to:
        {{- include "chassis.peers" (list . $facts.peer.name) | nindent 8 }}
    - ports:
        - port: 5432
      {{- if .Values.postgresql.enabled }}
      to:
        - podSelector:
            matchLabels:
              {{- include "chassis.selector" (list . "postgresql") | nindent 14 }}
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
            matchLabels:
              app.kubernetes.io/name: {{ .Chart.Name }}
              app.kubernetes.io/instance: {{ .Release.Name }}
            matchExpressions:
              - {key: app.kubernetes.io/component, operator: In, values: [server, migrate, purge]}
{{- end }}
{{- end }}
{{- end }}
