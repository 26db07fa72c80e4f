{{- /*
chassis.deployment: the Deployment. Each pod has a web container, which serves the API, and a relay container, which
sends what requests left in the outbox.
*/ -}}
{{- define "chassis.deployment" -}}
{{- include "chassis.checks" . -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) dict .Values.deploymentAnnotations) | nindent 2 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicaCount }}
  {{- end }}
  revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
  strategy:
    rollingUpdate:
      {{- toYaml .Values.updateStrategy | nindent 6 }}
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "chassis.labels" (list . "server" .Values.podLabels) | nindent 8 }}
      annotations:
        {{- $annotations := merge dict (.Values.podAnnotations | default dict) (dict "kubectl.kubernetes.io/default-container" "web") }}
        {{- toYaml (merge $annotations (include "chassis.scrapeAnnotations" . | fromYaml)) | nindent 8 }}
        {{- if not .Values.postgresql.enabled }}
        checksum/database: {{ toJson .Values.database | sha256sum | quote }}
        {{- end }}
    spec:
      {{- include "chassis.pod" . | nindent 6 }}
      {{- with .Values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range $constraint := . }}
        - {{- toYaml $constraint | nindent 10 }}
          {{- range $key, $value := include "chassis.spreadDefaults" $ | fromYaml }}
          {{- if not (hasKey $constraint $key) }}
          {{- toYaml (dict $key $value) | nindent 10 }}
          {{- end }}
          {{- end }}
        {{- end }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      {{- with .Values.initContainers }}
      initContainers:
        {{- tpl (toYaml .) $ | nindent 8 }}
      {{- end }}
      containers:
        - {{- include "chassis.container" (list . "web" nil .Values.web.resources) | nindent 10 }}
          ports:
            - name: http
              containerPort: {{ $facts.port }}
            - name: admin
              containerPort: 9090
            {{- with $facts.operatorPort }}
            - name: operator
              containerPort: {{ . }}
            {{- end }}
          env:
            {{- include "chassis.env" . | nindent 12 }}
            - name: PORT
              value: {{ $facts.port | quote }}
            - name: ADMIN_PORT
              value: "9090"
            {{- with $facts.operatorPort }}
            - name: OPERATOR_PORT
              value: {{ . | quote }}
            {{- end }}
            - name: WEB_WORKERS
              value: {{ include "chassis.scalar" .Values.web.workers | quote }}
            - name: WEB_THREADS
              value: {{ include "chassis.scalar" .Values.web.threads | quote }}
            - name: WEB_KEEP_ALIVE_SECONDS
              value: {{ include "chassis.scalar" .Values.web.keepAliveSeconds | quote }}
            - name: WEB_CONNECTIONS_PER_ADDRESS
              value: {{ include "chassis.scalar" .Values.web.connectionsPerAddress | quote }}
          startupProbe:
            httpGet: {path: /livez, port: admin}
            {{- with .Values.web.startupProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            {{- with .Values.web.livenessProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            {{- with .Values.web.readinessProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          lifecycle:
            {{- $lifecycle := .Values.web.lifecycle | default dict }}
            {{- with omit $lifecycle "preStop" }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            preStop: # keeps serving until every node has removed the pod from the Service
              {{- toYaml ($lifecycle.preStop | default (dict "sleep" (dict "seconds" .Values.preStopSeconds))) | nindent 14 }}
          {{- with .Values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts: &mounts
            - {name: secrets, mountPath: /etc/tandem, readOnly: true}
            - {name: metrics, mountPath: /run/metrics}
            - {name: tmp, mountPath: /tmp}
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        - {{- include "chassis.container" (list . "relay" (list "flask" "--app" (include "chassis.serviceName" .) "relay") .Values.relay.resources) | nindent 10 }}
          ports:
            - name: relay-admin
              containerPort: 9091
          env:
            {{- include "chassis.env" . | nindent 12 }}
            - name: RELAY_ADMIN_PORT
              value: "9091"
          startupProbe:
            httpGet: {path: /livez, port: relay-admin}
            {{- with .Values.relay.startupProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          livenessProbe: # no readiness probe: a slow relay must not stop the pod from accepting requests
            httpGet: {path: /livez, port: relay-admin}
            {{- with .Values.relay.livenessProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with .Values.relay.lifecycle }}
          lifecycle:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .Values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts: *mounts
        {{- with .Values.extraContainers }}
        {{- tpl (toYaml .) $ | nindent 8 }}
        {{- end }}
      volumes:
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              - {{- include "chassis.databaseSource" (list . (include "chassis.databaseSecretName" .)) | nindent 16 }}
              {{- with include "chassis.readSecret" . | fromYaml }}
              - secret:
                  name: {{ .name | quote }}
                  items:
                    - {key: {{ .key | quote }}, path: read-database-url}
              {{- end }}
              - secret:
                  name: {{ include "chassis.credentialsSecretName" . | quote }}
                  items:
                    {{- range $facts.secrets }}
                    - {key: {{ . | quote }}, path: {{ . | quote }}}
                    {{- end }}
              {{- with .Values.trustedCA }}
              {{- if .configMap }}
              - configMap:
                  name: {{ tpl .configMap $ | quote }}
                  items:
                    - {key: {{ .key | quote }}, path: trusted-ca.crt}
              {{- end }}
              {{- end }}
              {{- range $name, $source := include "chassis.secretEnv" . | fromYaml }}
              - secret:
                  name: {{ tpl $source.secret $ | quote }}
                  items:
                    - {key: {{ $source.key | quote }}, path: {{ $name | quote }}}
              {{- end }}
        - name: metrics # counters of all processes of the pod; /metrics sums them
          emptyDir: {medium: Memory, sizeLimit: 64Mi}
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}

{{- /*
chassis.spreadDefaults: the fields that are added to a topologySpreadConstraint that lacks them. The pods of each
revision are spread separately, so that old pods do not distort the placement of new ones during a rollout.
*/ -}}
{{- define "chassis.spreadDefaults" -}}
maxSkew: 1
whenUnsatisfiable: ScheduleAnyway
labelSelector:
  matchLabels:
    {{- include "chassis.selector" (list . "server") | nindent 4 }}
matchLabelKeys: [pod-template-hash]
{{- end }}
