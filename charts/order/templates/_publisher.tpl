{{- /*
The publisher: a Deployment that sends every event of the feed to a message broker, with the Secret of the broker's URL,
a NetworkPolicy in addition to that of the service's pods, and a PodMonitor. Its pods get the settings that it needs
only: no API keys, and the web pods do not get the broker's credentials.
*/ -}}
{{- define "order.publisher" -}}
{{- if .Values.publisher.enabled -}}
{{- $publisher := .Values.publisher -}}
{{- $name := printf "%s-publisher" (include "chassis.fullname" .) -}}
{{- $urlSecret := tpl ($publisher.existingSecret | default "") . | default $name -}}
{{- $settings := include "chassis.settings" . | fromYaml -}}
{{- $extra := list -}}
{{- range .Values.extraEnv }}{{ $extra = append $extra .name }}{{ end -}}
{{- range $key, $value := dict "EVENTS_STREAM" $publisher.stream "EVENTS_REPLICAS" $publisher.streamReplicas "EVENTS_SOURCE" $publisher.source "EVENTS_SASL_MECHANISM" $publisher.kafka.saslMechanism "EVENTS_PARTITIONS" $publisher.kafka.partitions -}}
{{- if not (or (hasKey $settings $key) (has $key $extra)) -}}{{- $settings = set $settings $key (include "chassis.scalar" $value) -}}{{- end -}}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "chassis.metadata" (list . "publisher" $name) | nindent 2 }}
spec:
  replicas: {{ $publisher.replicas }}
  revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "publisher") | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "chassis.labels" (list . "publisher") | nindent 8 }}
      annotations:
        checksum/broker: {{ $publisher.url | default "" | sha256sum | quote }}
        {{- with include "chassis.scrapeAnnotations" . }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if not .Values.postgresql.enabled }}
        checksum/database: {{ toJson .Values.database | sha256sum | quote }}
        {{- end }}
    spec:
      {{- include "chassis.pod" . | nindent 6 }}
      terminationGracePeriodSeconds: 45 # a round that waits for acknowledgements ends first
      containers:
        - {{- include "chassis.container" (list . "publisher" (list "flask" "--app" "order" "publisher") $publisher.resources) | nindent 10 }}
          ports:
            - name: admin
              containerPort: 9090
          env:
            - name: ENVIRONMENT
              value: {{ .Values.environment | quote }}
            - name: LOG_LEVEL
              value: {{ .Values.logLevel | quote }}
            - name: PROMETHEUS_MULTIPROC_DIR
              value: /run/metrics
            - name: RELAY_ADMIN_PORT
              value: "9090"
            {{- include "chassis.databaseEnv" . | nindent 12 }}
            - name: EVENTS_URL_FILE
              value: /etc/tandem/events-url
            {{- if $publisher.credentials.existingSecret }}
            - name: EVENTS_CREDENTIALS_FILE
              value: /etc/tandem/events-credentials
            {{- end }}
            {{- if $publisher.clientCertificate.existingSecret }}
            - name: EVENTS_CLIENT_CERTIFICATE_FILE
              value: /etc/tandem/events-client.crt
            - name: EVENTS_CLIENT_KEY_FILE
              value: /etc/tandem/events-client.key
            {{- end }}
            {{- if .Values.trustedCA.configMap }}
            - name: TRUSTED_CA_FILE
              value: /etc/tandem/trusted-ca.crt
            {{- end }}
            {{- range $key, $value := $settings }}
            - name: {{ $key | quote }}
              value: {{ $value | quote }}
            {{- end }}
            {{- with .Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          startupProbe:
            httpGet: {path: /livez, port: admin}
            {{- with .Values.relay.startupProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          livenessProbe: # no readiness probe: nothing calls the pod
            httpGet: {path: /livez, port: admin}
            {{- with .Values.relay.livenessProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with .Values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - {name: secrets, mountPath: /etc/tandem, readOnly: true}
            - {name: metrics, mountPath: /run/metrics}
            - {name: tmp, mountPath: /tmp}
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              - {{- include "chassis.databaseSource" (list . (include "chassis.databaseSecretName" .)) | nindent 16 }}
              - secret:
                  name: {{ $urlSecret | quote }}
                  items:
                    - {key: {{ ternary $publisher.existingSecretKey "url" (not (empty $publisher.existingSecret)) | quote }}, path: events-url}
              {{- with $publisher.credentials }}
              {{- if .existingSecret }}
              - secret:
                  name: {{ tpl .existingSecret $ | quote }}
                  items:
                    - {key: {{ .existingSecretKey | quote }}, path: events-credentials}
              {{- end }}
              {{- end }}
              {{- with $publisher.clientCertificate.existingSecret }}
              - secret:
                  name: {{ tpl . $ | quote }}
                  items:
                    - {key: tls.crt, path: events-client.crt}
                    - {key: tls.key, path: events-client.key}
              {{- end }}
              {{- with .Values.trustedCA }}
              {{- if .configMap }}
              - configMap:
                  name: {{ tpl .configMap $ | quote }}
                  items:
                    - {key: {{ .key | quote }}, path: trusted-ca.crt}
              {{- end }}
              {{- end }}
        - name: metrics
          emptyDir: {medium: Memory, sizeLimit: 16Mi}
        - name: tmp
          emptyDir: {sizeLimit: 16Mi}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- if $publisher.url }}
---
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "publisher" $name) | nindent 2 }}
stringData:
  url: {{ $publisher.url | quote }}
{{- end }}
{{- if .Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "publisher" $name) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "publisher") | nindent 6 }}
  policyTypes: [Egress]
  egress:
    {{- include "order.brokerEgress" . | trim | nindent 4 }}
{{- end }}
{{- if or .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled }}
{{- $monitor := ternary .Values.metrics.podMonitor .Values.metrics.serviceMonitor .Values.metrics.podMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "chassis.metadata" (list . "publisher" $name $monitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "publisher") | nindent 6 }}
  podMetricsEndpoints:
    - {{- include "chassis.metricsEndpoint" $monitor | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* order.brokerEgress: the NetworkPolicyEgressRules to the servers of publisher.url; by default NATS listens on 4222 and Kafka on 9092 */ -}}
{{- define "order.brokerEgress" -}}
{{- $broker := .Values.publisher.egress -}}
{{- $urls := .Values.publisher.url | default "" -}}
{{- $port := ternary "9092" "4222" (hasPrefix "kafka" $urls) -}}
{{- range $url := compact (regexSplit " *, *" $urls -1) }}
{{- $host := regexReplaceAll "^([a-z]+://)?([^@/]*@)?([^/]*).*$" $url "${3}" }}
- ports:
    - port: {{ regexFind ":[0-9]+$" $host | trimPrefix ":" | default $port }}
  to:
    {{- /* http: a name of two labels is a Service and its namespace */}}
    {{- include "chassis.destinationPeers" (list (printf "http://%s" $host) $broker.to) | nindent 4 }}
{{- else }}
- ports:
    - port: {{ $broker.port }}
  {{- with $broker.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
